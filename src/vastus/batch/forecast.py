"""What a run would do, how long it would take and how much disk it needs, from what scans took so far."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vastus.batch.ledger import History
from vastus.batch.pacs_inputs import in_pacs
from vastus.batch.runner import OpenBatch
from vastus.batch.task import Ending, Task, Work
from vastus.batch.worker import perform
from vastus.errors import VastusError
from vastus.light_imports import load_nibabel


@dataclass(frozen=True, slots=True)
class Forecast:
    """A run that has not taken place.

    Attributes:
        found: scans that the inputs name.
        to_segment, to_measure: scans that would be segmented, or measured from stored labels.
        unreadable: of those to segment, files whose header can't be read; they would be refused.
        seconds: of the whole run; None when nothing is known of the time a scan takes. Measuring is not counted.
        needed_bytes: of disk for what would be segmented; None likewise.
        free_bytes: of disk.
        based_on: scans that the estimate rests on.
    """

    found: int
    to_segment: int
    to_measure: int
    unreadable: int
    seconds: float | None
    needed_bytes: int | None
    free_bytes: int
    based_on: int


def forecast(batch: OpenBatch, workers: int, threads: int, *, trial: bool = True) -> Forecast:
    """Look at the queue.

    Args:
        batch: open, not yet run.
        workers: scans at a time.
        threads: of each worker.
        trial: where no scan was ever done with these settings, do one of middling size into a temporary folder.
    """
    queued = batch.ledger.queued(batch.run)
    sizes: list[tuple[int, Mapping[str, Any]]] = []
    remote = 0
    for row in batch.ledger.queued_paths(batch.run, Work.SEGMENT):
        if in_pacs(Path(row["path"])):
            remote += 1
        else:
            sizes.append((voxel_count(Path(row["path"]), row["series"]), row))
    known = sorted((entry for entry in sizes if entry[0]), key=lambda entry: entry[0])
    history = batch.ledger.history(batch.keys.labels)
    if trial and not history.scans and known:
        history = _trial(batch, known[len(known) // 2][1], threads)
    voxels = sum(size for size, _ in known)
    if history.scans:  # what lies in a PACS is taken to be as large as what was done
        voxels += round(remote * history.voxels / history.scans)
    seconds = needed = None
    if history.voxels:
        seconds = voxels * history.seconds / history.voxels / max(1, min(workers, len(known) + remote))
        needed = round(voxels * history.output_bytes / history.voxels)
    return Forecast(
        found=batch.found,
        to_segment=queued[Work.SEGMENT],
        to_measure=queued[Work.MEASURE],
        unreadable=len(sizes) - len(known),
        seconds=seconds,
        needed_bytes=needed,
        free_bytes=_free_bytes(batch.request.output),
        based_on=history.scans,
    )


def _free_bytes(folder: Path) -> int:
    """Room where a folder is or would be made."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())
    return shutil.disk_usage(there).free


def _trial(batch: OpenBatch, row: Mapping[str, Any], threads: int) -> History:
    with tempfile.TemporaryDirectory(prefix="vastus-") as name:
        folder = Path(name) / "scan"
        task = Task(row["id"], row["key"], row["name"], Path(row["path"]), row["series"], folder, Work.SEGMENT)
        processor = batch.factory.open(threads)
        start = time.perf_counter()
        outcome = perform(processor, task, "trial")
        if outcome.ending is not Ending.DONE:
            return History(0, 0.0, 0, 0, 0)
        seconds = time.perf_counter() - start
        return History(1, seconds, outcome.product.voxels, outcome.output_bytes, outcome.peak_bytes)


def voxel_count(path: Path, series: str | None) -> int:
    """Voxels of a scan by its headers; 0 when they can't be read."""
    try:
        return _voxel_count(path, series)
    except (VastusError, OSError, ValueError, RuntimeError):
        return 0


def _voxel_count(path: Path, series: str | None) -> int:
    if path.is_dir() or path.suffix.lower() in (".zip", ".dcm"):
        from vastus.io.dicom_choice import choose_stack
        from vastus.io.dicom_headers import take_inventory
        from vastus.io.dicom_store import open_store

        stack, _, _ = choose_stack(take_inventory(open_store(path)), path, series)
        return len(stack.heights_mm) * stack.first.rows * stack.first.columns
    import math

    if path.name.lower().endswith((".nii", ".nii.gz")):
        nibabel = load_nibabel()
        from nibabel.filebasedimages import ImageFileError

        try:
            image: Any = nibabel.load(path)
            return math.prod(image.shape)
        except ImageFileError:
            return 0
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return math.prod(reader.GetSize())


def as_text(seen: Forecast) -> str:
    """For people."""
    from vastus.batch.logs import duration

    lines = [
        f"{seen.found} scans found; {seen.to_segment} to segment, {seen.to_measure} to measure from stored labels."
    ]
    if seen.unreadable:
        lines.append(f"{seen.unreadable} of them can't be read and would be refused.")
    if seen.seconds is None or seen.needed_bytes is None:
        lines.append("How long it takes is not known: no scan was done with these settings yet (try --limit 1).")
    else:
        basis = "one trial scan" if seen.based_on == 1 else f"{seen.based_on} scans done before"
        lines.append(f"About {duration(seen.seconds)}, going by {basis}.")
        lines.append(f"About {seen.needed_bytes / 1e9:.2f} GB of disk; {seen.free_bytes / 1e9:.1f} GB are free.")
        if seen.needed_bytes > seen.free_bytes:
            lines.append("warning: the disk is too small.")
    return "\n".join(lines)


def as_dict(seen: Forecast) -> dict[str, Any]:
    """For programs."""
    return dataclasses.asdict(seen)
