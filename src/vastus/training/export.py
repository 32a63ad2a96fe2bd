"""``vastus export``: from a run to a bundle that the core, MONAI tools and 3D Slicer can use without the run."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from vastus.errors import BundleError, MissingInputError, TrainingError
from vastus.inference.bundle import (
    ONNX_FILE,
    SAFETENSORS_FILE,
    BundleInfo,
    NetworkSpec,
    Precision,
    write_bundle_files,
)
from vastus.io.atomic import atomic_folder
from vastus.training.checkpoint import TrainState, load_state
from vastus.training.config import CONFIG_FILE, TrainConfig, load_config
from vastus.training.networks import network_entry, parameter_count
from vastus.training.transfer import mean_weights, read_weights

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

_LARGEST_DIFFERENCE = 1e-2
"""Largest allowed difference of a logit between torch and ONNX with the same (rounded) weights."""
_LEAST_SHARED_BYTES = 1024


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What only the person who trained can say.

    Attributes:
        name: of the bundle.
        trained_on: what data the weights have seen.
        limits: what they are known not to do well, Markdown; empty if not stated.
        metrics: name -> value, measured on data that was not trained on.
        bf16_checked: whether bfloat16 was compared with float32 on whole scans and found equal enough to be used.
        mean_with: bundles or runs whose weights are averaged with those of the run; one given twice counts twice.
    """

    name: str
    trained_on: str
    limits: str = ""
    metrics: dict[str, float] | None = None
    bf16_checked: bool = False
    mean_with: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The bundle's description, and the largest difference of a logit between ONNX and torch."""

    info: BundleInfo
    largest_difference: float


def export_run(run: Path, bundle: Path, facts: CardFacts, *, licence: str) -> ExportResult:
    """Write the averaged weights of a run as a bundle.

    Weights are stored as float16 (arithmetic stays float32), once: the ONNX file points into the safetensors file
    beside it. It is run and compared with torch before anything is put into place.

    Raises:
        MissingInputError: no checkpoint in the run.
        BundleError: the folder exists and is not empty.
        SettingsError: weights of another network can't be averaged with those of the run.
        TrainingError: ONNX and torch disagree.
    """
    if not (run / CONFIG_FILE).is_file():
        raise MissingInputError("There is no run here.", path=run)
    if bundle.exists() and any(bundle.iterdir()):
        raise BundleError("The folder is not empty.", path=bundle, remedy="Choose another, or remove it first.")
    config = load_config(run / CONFIG_FILE)
    state = load_state(run)
    if state is None:
        raise MissingInputError("This run has no checkpoint yet.", path=run)
    if facts.mean_with:
        state.average = mean_weights(read_weights(run), [read_weights(path) for path in facts.mean_with])
    network, tensors = rounded_network(config, state)
    with atomic_folder(bundle) as folder:
        (folder / "models").mkdir()
        from safetensors.torch import save_file

        save_file(tensors, str(folder / SAFETENSORS_FILE))
        model = onnx_model(network, config.settings.window_size)
        store_as_float16(model)
        share_weights(model, folder / SAFETENSORS_FILE)
        (folder / ONNX_FILE).write_bytes(model.SerializeToString())
        (folder / SAFETENSORS_FILE).chmod((folder / ONNX_FILE).stat().st_mode)
        difference = onnx_difference(folder / ONNX_FILE, network, config.settings.window_size)
        if not difference <= _LARGEST_DIFFERENCE:
            raise TrainingError(f"ONNX and torch differ by {difference:.3g} in a logit; nothing was written.")
        info = BundleInfo(
            name=facts.name,
            network=NetworkSpec(config.network, network_entry(config.network).arguments | config.network_arguments),
            preprocessing=config.settings,
            classes=config.classes,
            trained_on=facts.trained_on,
            metrics=facts.metrics or {},
            precisions=(Precision.FP32, Precision.BF16) if facts.bf16_checked else (Precision.FP32,),
            table=config.table,
        )
        card = model_card(info, config, state, facts, parameter_count(network), difference)
        written = write_bundle_files(folder, info, card=card, licence=licence, inference=monai_entries(info))
    return ExportResult(written, difference)


def rounded_network(config: TrainConfig, state: TrainState) -> tuple[nn.Module, dict[str, Tensor]]:
    """The averaged network with its weights rounded to float16, in evaluation mode, and those weights."""
    network = config.new_network()
    tensors = {
        name: (t.half() if t.is_floating_point() else t).contiguous().clone() for name, t in state.average.items()
    }
    network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in tensors.items()})
    network.eval().requires_grad_(False)
    return network, tensors


def onnx_model(network: nn.Module, window_size: tuple[int, int, int]) -> ModelProto:
    """Export to ONNX: ``image`` (N, 1, X, Y, Z) -> ``logits`` (N, classes, X, Y, Z), N free, float32."""
    import logging
    import warnings

    # It reports the absence of torchvision, which nothing here uses.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    example = torch.zeros(2, 1, *window_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},),
            verbose=False,
        )
    assert program is not None
    program.optimize()
    model: ModelProto = program.model_proto
    forget_origin(model)
    return model


def forget_origin(model: ModelProto) -> None:
    """Drop the exporter's notes, in place: they hold stack traces with the paths of the machine that exported."""
    graph = model.graph
    for noted in (model, graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        del noted.metadata_props[:]
        noted.doc_string = ""


def store_as_float16(model: ModelProto) -> None:
    """Halve the file: float32 initializers become float16 with a Cast in front of their use, in place.

    Runtimes fold the casts when the model is loaded, so that the arithmetic is float32 as before.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    casts = []
    for index, tensor in enumerate(list(graph.initializer)):
        if tensor.data_type != TensorProto.FLOAT or math.prod(tensor.dims) < 64:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max(initial=0.0) > np.finfo(np.float16).max:
            continue
        name = tensor.name
        graph.initializer[index].CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + "_fp16"))
        casts.append(helper.make_node("Cast", [name + "_fp16"], [name], name=name + "_cast", to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])
    # Value infos of the former initializers would contradict nothing, but shape tools complain about duplicates.
    produced = {c.output[0] for c in casts}
    kept = [v for v in graph.value_info if v.name not in produced]
    del graph.value_info[:]
    graph.value_info.extend(kept)


def share_weights(model: ModelProto, safetensors: Path) -> None:
    """Let initializers that stand in a safetensors file beside the model be read from there, in place.

    A safetensors file is eight bytes with the length of a JSON header, the header, and the tensors one after the
    other, which is all that ONNX's external data asks for. A matrix that the exporter transposed (the weights of a
    linear layer) is read as it lies there and transposed by a node, which runtimes fold when they load the model. What
    the exporter folded into something else stays in the model.
    """
    from onnx import helper, numpy_helper

    raw = safetensors.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    spans = [value["data_offsets"] for name, value in header.items() if name != "__metadata__"]
    offset_of = {raw[start + first : start + last]: start + first for first, last in spans}
    turns = []
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) < _LEAST_SHARED_BYTES:
            continue
        offset = offset_of.get(tensor.raw_data)
        if offset is None and len(tensor.dims) == 2:
            offset = offset_of.get(np.ascontiguousarray(numpy_helper.to_array(tensor).T).tobytes())
            if offset is not None:
                turns.append(helper.make_node("Transpose", [tensor.name + "_turned"], [tensor.name], perm=[1, 0]))
                tensor.name += "_turned"
                tensor.dims[:] = tensor.dims[::-1]
        if offset is not None:
            _point_to(tensor, safetensors.name, offset)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*turns, *nodes])


def _point_to(tensor: TensorProto, file: str, offset: int) -> None:
    """Let an initializer be read from a file beside the model, in place."""
    entries = {"location": file, "offset": str(offset), "length": str(len(tensor.raw_data))}
    tensor.ClearField("raw_data")
    tensor.data_location = type(tensor).EXTERNAL
    for key, value in entries.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def onnx_difference(path: Path, network: nn.Module, window_size: tuple[int, int, int]) -> float:
    """Largest difference of a logit between ONNX Runtime and torch, float32, on one random window."""
    import onnxruntime

    rng = np.random.default_rng(0)
    image = rng.random((1, 1, *window_size), dtype=np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"image": image})
    with torch.inference_mode():
        expected = network(torch.from_numpy(image)).numpy()
    return float(np.abs(found - expected).max())


def monai_entries(info: BundleInfo) -> dict[str, Any]:
    """What MONAI's bundle runner needs; the network is the registry's, so that Vastus must be installed there."""
    from vastus.training.monai_workflow import workflow

    network = {
        "_target_": "vastus.training.networks.build_network",
        "name": info.network.name,
        "class_count": len(info.classes),
        "window_size": list(info.preprocessing.window_size),
        "arguments": dict(info.network.arguments),
    }
    return workflow(info.preprocessing, info.classes, info.overlap, network, info.table)


def _own_structures(info: BundleInfo) -> str:
    """Name the structures where they are not the built-in ones."""
    if info.table.is_built_in:
        return ""
    named = ", ".join(info.table.by_key[key].english for key in info.classes[1:])
    return f"The structures are those of the data set's own table: {named}.\n"


def _mean_of(facts: CardFacts) -> str:
    if not facts.mean_with:
        return ""
    names = ", ".join(path.name for path in facts.mean_with)
    return f"The weights are the mean of this training and of {names}, which started from the same weights.\n"


def model_card(
    info: BundleInfo, config: TrainConfig, state: TrainState, facts: CardFacts, parameters: int, difference: float
) -> str:
    """The model card, Markdown."""
    entry = network_entry(config.network)
    settings = config.settings
    low, high = settings.hu_window
    metrics = "\n".join(f"| {name} | {value:.4g} |" for name, value in info.metrics.items())
    measured = f"| measure | value |\n|---|---|\n{metrics}\n" if metrics else "No held-out measurement was stated.\n"
    return f"""# {info.name}

For research; not a medical device.

**Network.** {config.network}: {entry.summary}. {parameters / 1e6:.2f} million parameters, stored as float16.
**Input.** CT in Hounsfield units, window {low:g}..{high:g} HU, gamma {settings.gamma:g}, voxels of
{" x ".join(f"{s:g}" for s in settings.spacing_mm)} mm, windows of {" x ".join(str(w) for w in settings.window_size)}.
**Output.** {len(info.classes) - 1} structures and background; left and right are told apart afterwards by geometry.
{_own_structures(info)}
## Trained on

{facts.trained_on}

{state.step} steps of {config.batch_size} windows in {state.seconds / 3600:.2f} hours, {config.optimiser}, seed
{config.seed}.
{_mean_of(facts)}
## Measured

{measured}
The ONNX file was compared with torch when it was written: largest difference of a logit {difference:.1e}.

## Limits

{facts.limits or "None were stated by whoever trained it. Check results by eye before use."}

## Licence

{info.licence}
"""
