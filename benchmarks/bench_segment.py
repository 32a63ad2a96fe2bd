"""Time ``vastus segment`` end to end beside the plain way, with the same weights.

The plain way is what a MONAI user writes: dictionary transforms, torch in fp32, ``SlidingWindowInferer`` with 50%
overlap and Gaussian weights, argmax, back to the scan's grid by nearest neighbour, saved as NIfTI. Every run is a fresh
process, imports and loading included; the two take turns, so that whatever else the machine does hits both. Peak memory
is what the system counted for that process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vastus.anatomy import STRUCTURES
from vastus.inference.bundle import Bundle, default_bundle_folder, load_bundle
from vastus.inference.processor import processor_name
from vastus.io.labels import read_labels, write_labels
from vastus.volume import Volume

SHAPE, SPACING_MM = (512, 512, 450), (0.8, 0.8, 1.0)
AVX2_ONLY = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
"""Environment that keeps OpenVINO and torch from wider instructions and bfloat16: an AVX2 processor, imitated."""
STAGES = ("read", "preprocess", "network", "clean", "restore", "measure", "pictures", "page", "write")


@dataclass(frozen=True, slots=True)
class Run:
    """One process: time by the clock and of all processors, peak memory, and its run record if it wrote one."""

    seconds: float
    processor_seconds: float
    peak_gb: float
    record: dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=default_bundle_folder())
    parser.add_argument("--scan", type=Path, help="NIfTI to use; default: the phantom, 512 x 512 x 450")
    parser.add_argument("--labels", type=Path, help="its true labels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of both ways")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--slices", type=int, nargs="*", default=[150, 450, 900, 1500])
    parser.add_argument("--plain", nargs=3, metavar=("SCAN", "OUT", "BUNDLE"), help=argparse.SUPPRESS)
    options, _ = parser.parse_known_args()  # what another benchmark of the same run takes
    if options.plain:
        segment_the_plain_way(*map(Path, options.plain), options.threads, options.device)
        return
    print(report(options))


def report(options: argparse.Namespace) -> str:
    """All tables, as Markdown."""
    bundle = load_bundle(options.weights)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan, labels = options.scan, options.labels
        if scan is None:
            scan, labels = write_phantom(folder)
        lines = [
            "## Segmenting",
            "",
            f"{processor_name()}, {options.threads} threads, load average at start {os.getloadavg()[0]:.1f}, "
            f"Python {platform.python_version()}, weights {bundle.info.name} ({bundle.digest[:12]}).",
            "",
        ]
        ours, plain = [], []
        _run_vastus(scan, folder / "warm", options)  # compiled loops are kept on disk from the first run on
        for _ in range(options.repeats):
            ours.append(_run_vastus(scan, folder / "ours", options))
            plain.append(_run_plain(scan, folder / "plain.nii.gz", options))
        lines += _comparison(ours, plain, _dice_pair(folder, labels))
        lines += _stages(ours, bundle, options)
        if options.device == "cpu":
            lines += _precisions(scan, folder, bundle, options)
            if _has_avx512():
                lines += _avx2_only(scan, folder, options)
        lines += _long_scans(scan, folder, options)
    return "\n".join(lines)


def write_phantom(folder: Path) -> tuple[Path, Path]:
    """The test phantom on a hospital's matrix."""
    from vastus.synthesis.dataset import write_image
    from vastus.synthesis.phantom import make_phantom

    phantom = make_phantom(SPACING_MM, z_range_mm=(0.0, 450.0))
    pad = [((n - m) // 2, (n - m) - (n - m) // 2) for n, m in zip(SHAPE, phantom.ct.shape, strict=True)]
    affine = phantom.ct.affine.copy()
    affine[:3, 3] -= [p[0] * s for p, s in zip(pad, SPACING_MM, strict=True)]
    write_image(
        Volume(np.asfortranarray(np.pad(phantom.ct.array, pad, constant_values=-1000)), affine), folder / "scan.nii.gz"
    )
    write_labels(Volume(np.asfortranarray(np.pad(phantom.labels.array, pad)), affine), folder / "truth.nii.gz")
    return folder / "scan.nii.gz", folder / "truth.nii.gz"


def _run_vastus(
    scan: Path,
    out: Path,
    options: argparse.Namespace,
    precision: str = "auto",
    environment: Mapping[str, str] | None = None,
) -> Run:
    command = [
        "-m",
        "vastus",
        "segment",
        str(scan),
        "-o",
        str(out),
        "--weights",
        str(options.weights),
        "--device",
        options.device,
        "--threads",
        str(options.threads),
        "--precision",
        precision,
    ]
    found = _timed(command, options.threads, environment)
    return Run(*found, json.loads((out / "run.json").read_text()))


def _run_plain(scan: Path, out: Path, options: argparse.Namespace, environment: Mapping[str, str] | None = None) -> Run:
    command = [
        __file__,
        "--plain",
        str(scan),
        str(out),
        str(options.weights),
        "--device",
        options.device,
        "--threads",
        str(options.threads),
    ]
    return Run(*_timed(command, options.threads, environment), {})


_STARTER = """
import json, os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, status]))
"""
"""Linux counts the memory of whoever starts a process as the process's own peak: so a small one starts it."""


def _timed(arguments: list[str], threads: int, further: Mapping[str, str] | None = None) -> tuple[float, float, float]:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)} | (further or {})
    command = [sys.executable, "-c", _STARTER, sys.executable, *arguments]
    told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout
    seconds, processor_seconds, peak, status = json.loads(told)
    if status:
        raise SystemExit(f"failed: {' '.join(arguments)}")
    return seconds, processor_seconds, peak / (1e6 if sys.platform == "linux" else 1e9)


def segment_the_plain_way(scan: Path, out: Path, folder: Path, threads: int, device: str) -> None:
    import torch
    from monai.inferers import SlidingWindowInferer
    from monai.transforms import (
        AsDiscreted,
        Compose,
        CropForegroundd,
        EnsureChannelFirstd,
        Invertd,
        Lambdad,
        LoadImaged,
        Orientationd,
        ScaleIntensityRanged,
        Spacingd,
    )
    from safetensors.torch import load_file

    torch.set_num_threads(threads)
    bundle = load_bundle(folder)
    settings, network = bundle.info.preprocessing, _torch_network(bundle)
    network.load_state_dict(load_file(bundle.safetensors_path))
    network.eval().to(device)
    low, high = settings.hu_window
    before = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            Orientationd("image", axcodes="RAS"),
            ScaleIntensityRanged("image", low, high, 0.0, 1.0, clip=True),
            Lambdad("image", lambda x: x**settings.gamma),
            CropForegroundd("image", source_key="image"),
            Spacingd("image", pixdim=settings.spacing_mm, mode="bilinear"),
        ]
    )
    after = Compose([AsDiscreted("pred", argmax=True), Invertd("pred", before, "image", nearest_interp=True)])
    data = before({"image": str(scan)})
    infer = SlidingWindowInferer(settings.window_size, 1, overlap=0.5, mode="gaussian", sw_device=device, device="cpu")
    with torch.no_grad():
        data["pred"] = infer(data["image"][None], network)[0]
    ids = np.array(bundle.info.class_ids, np.uint8)
    classes = ids[after(data)["pred"][0].numpy().astype(np.uint8)]
    import nibabel as nib

    nib.save(nib.Nifti1Image(classes, nib.load(scan).affine), out)


def _torch_network(bundle: Bundle) -> Any:
    """The network of a bundle, with fresh weights."""
    from vastus.training.networks import build_network

    spec = bundle.info.network
    return build_network(
        spec.name,
        class_count=len(bundle.info.classes),
        window_size=bundle.info.preprocessing.window_size,
        arguments=dict(spec.arguments),
    )


def _dice_pair(folder: Path, truth: Path | None) -> tuple[float, float] | None:
    """Mean Dice over the structures of the truth, sides together: (ours, plain)."""
    import nibabel as nib

    if truth is None:
        return None
    wanted = read_labels(truth).array % 100
    found = (
        read_labels(folder / "ours" / "labels.nii.gz").array % 100,
        np.asarray(nib.load(folder / "plain.nii.gz").dataobj),
    )
    n = len(STRUCTURES) + 1
    dice = []
    for labels in found:
        table = np.bincount(
            wanted.ravel(order="F").astype(np.int64) * n + labels.ravel(order="F"), minlength=n * n
        ).reshape(n, n)
        both, sizes = np.diag(table), table.sum(0) + table.sum(1)
        present = table.sum(1) > 0
        dice.append(float(np.mean((2 * both / np.maximum(sizes, 1))[present][1:])))
    return dice[0], dice[1]


def _comparison(ours: list[Run], plain: list[Run], dice: tuple[float, float] | None) -> list[str]:
    a, b = (statistics.median(r.seconds for r in runs) for runs in (ours, plain))
    rows = [
        "| | vastus segment | plain way | |",
        "|---|---|---|---|",
        f"| seconds, median of {len(ours)} | {a:.1f} | {b:.1f} | {b / a:.1f} times |",
        f"| seconds, each run | {_each(ours)} | {_each(plain)} | |",
        f"| processor seconds, least | {_least(ours):.1f} | {_least(plain):.1f} "
        f"| {_least(plain) / _least(ours):.1f} times |",
        f"| peak memory, GB | {max(r.peak_gb for r in ours):.2f} | {max(r.peak_gb for r in plain):.2f} | |",
    ]
    if dice:
        rows.append(f"| mean Dice | {dice[0]:.4f} | {dice[1]:.4f} | {dice[0] - dice[1]:+.4f} |")
    return [*rows, "", "The first also measures volumes, tells left from right and draws the page.", ""]


def _least(runs: list[Run]) -> float:
    return min(r.processor_seconds for r in runs)


def _each(runs: list[Run]) -> str:
    return ", ".join(f"{r.seconds:.1f}" for r in runs)


def _stages(ours: list[Run], bundle: Bundle, options: argparse.Namespace) -> list[str]:
    middle = sorted(ours, key=lambda r: r.seconds)[len(ours) // 2]
    seconds = middle.record["seconds"]
    rows = [f"| {stage} | {seconds[stage]:.2f} |" for stage in STAGES]
    start = middle.seconds - seconds["total"]
    half = ", bf16," in middle.record["device"]
    operations = _operations_per_window(bundle) * middle.record["windows"]
    measure_peak = _peak_on_cuda if options.device == "cuda" else _peak_operations_a_second
    peak = measure_peak(options.threads, half=half)
    rate = operations / (seconds["network"] - seconds["stitch"])
    return [
        f"{middle.record['device']}, {middle.record['windows']} windows, overlap {middle.record['overlap']}.",
        "",
        "| stage | seconds |",
        "|---|---|",
        f"| start, load the network, read beside it | {start:.2f} |",
        *rows,
        f"| whole | {middle.seconds:.2f} |",
        "",
        "Read is the waiting for what of it is not done by then. Writing runs beside measuring and page. "
        "Of the time of the network, "
        f"{seconds['stitch']:.2f} s are stitching; the rest reaches {rate / 1e9:.0f} of the {peak / 1e9:.0f} GFLOP/s "
        f"that a matrix product in {'bf16' if half else 'fp32'} reaches here ({rate / peak:.0%}).",
        "",
    ]


def _precisions(scan: Path, folder: Path, bundle: Bundle, options: argparse.Namespace) -> list[str]:
    """The same scan in every precision that weights and processor have, taking turns."""
    from vastus.inference.arithmetic import cpu_has_bf16, cpu_has_int8
    from vastus.inference.bundle import Precision

    here = {Precision.FP32: True, Precision.BF16: cpu_has_bf16(), Precision.INT8: cpu_has_int8()}
    names = [p.value for p in bundle.info.precisions if here[p]]
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for _ in range(options.repeats):
        for name in names:
            runs[name].append(_run_vastus(scan, folder / name, options, name))
    reference = read_labels(folder / "fp32" / "labels.nii.gz").array
    rows = []
    for name, found in runs.items():
        labels = read_labels(folder / name / "labels.nii.gz").array
        either = (labels > 0) | (reference > 0)
        network = statistics.median(r.record["seconds"]["network"] for r in found)
        rows.append(
            f"| {name} | {statistics.median(r.seconds for r in found):.1f} | {network:.1f} | {_least(found):.1f} "
            f"| {float((labels == reference)[either].mean()):.2%} |"
        )
    head = [
        "| precision | seconds | network | processor seconds, least | labels equal to fp32 |",
        "|---|---|---|---|---|",
    ]
    return [*head, *rows, ""]


def _has_avx512() -> bool:
    """Whether there is anything to forbid; unknown (not Linux) counts as yes."""
    try:
        return "avx512f" in Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return True


def _avx2_only(scan: Path, folder: Path, options: argparse.Namespace) -> list[str]:
    """Both ways in turn, kept to the instructions of an AVX2 processor."""
    _run_vastus(scan, folder / "warm", options, environment=AVX2_ONLY)  # the network is prepared anew for them
    ours, plain = [], []
    for _ in range(options.repeats):
        ours.append(_run_vastus(scan, folder / "narrow", options, environment=AVX2_ONLY))
        plain.append(_run_plain(scan, folder / "narrow.nii.gz", options, AVX2_ONLY))
    return [f"With AVX2 only, imitated ({ours[0].record['device']}):", "", *_comparison(ours, plain, None)]


def _operations_per_window(bundle: Bundle) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    network = _torch_network(bundle).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, *bundle.info.preprocessing.window_size))
    return float(counter.get_total_flops())


def _peak_operations_a_second(threads: int, *, half: bool) -> float:
    """What a matrix product reaches through the same library."""
    from vastus.inference.runtime_openvino import load_openvino

    openvino = load_openvino()
    from openvino import opset13 as op

    n = 2048
    a, b = (op.parameter([n, n], np.float32) for _ in range(2))
    model = openvino.Model([op.matmul(a, b, False, False)], [a, b])
    hints = {"INFERENCE_PRECISION_HINT": "bf16" if half else "f32", "INFERENCE_NUM_THREADS": threads}
    request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()
    values = np.ones((n, n), np.float32)
    best = float("inf")
    for _ in range(12):
        start = time.perf_counter()
        request.infer([values, values])
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best


def _peak_on_cuda(_threads: int, *, half: bool) -> float:
    """The same on a graphics card, through torch."""
    import torch

    n = 8192
    a, b = (torch.ones((n, n), device="cuda", dtype=torch.bfloat16 if half else torch.float32) for _ in range(2))
    best = float("inf")
    for _ in range(12):
        torch.cuda.synchronize()
        start = time.perf_counter()
        torch.matmul(a, b)
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best


def _long_scans(scan: Path, folder: Path, options: argparse.Namespace) -> list[str]:
    """The same body again and again, up and down, to the wanted number of slices."""
    from vastus.io.scans import read_scan
    from vastus.synthesis.dataset import write_image

    volume = read_scan(scan).volume
    there_and_back = np.concatenate([np.arange(volume.shape[2]), np.arange(volume.shape[2])[::-1]])
    rows = [
        "| slices | seconds | seconds a 100 slices | peak memory, GB | of it scan and labels |",
        "|---|---|---|---|---|",
    ]
    for count in options.slices:
        longer = Volume(np.asfortranarray(volume.array[:, :, np.resize(there_and_back, count)]), volume.affine)
        write_image(longer, folder / "long.nii.gz")
        run = _run_vastus(folder / "long.nii.gz", folder / "long", options)
        own = longer.array.size * 3 / 1e9
        rows.append(
            f"| {count} | {run.seconds:.1f} | {run.seconds / count * 100:.2f} | {run.peak_gb:.2f} | {own:.2f} |"
        )
    return [*rows, ""] if options.slices else []


if __name__ == "__main__":
    main()
