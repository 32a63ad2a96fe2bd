"""``vastus segment``: scans in; labels, volumes, a page and a run record out."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vastus.cli.dicom_options import FormatWork, fetched, format_work
from vastus.cli.network_options import DeviceOption, OverlapOption, PrecisionOption, RuntimeOption, WeightsOption
from vastus.errors import MissingInputError, SettingsError, VastusError
from vastus.formats.table import OUTPUT_FORMATS
from vastus.garbage import no_collecting
from vastus.inference.choices import Device, PrecisionChoice, RuntimeName, RuntimeOptions
from vastus.io.output_format import in_words

if TYPE_CHECKING:
    from vastus.inference.predictor import OnProgress, Predictor, Progress
    from vastus.io.csv_tables import VolumeRow
    from vastus.io.prefetch import Prefetch
    from vastus.io.scans import Scan
    from vastus.pipeline import ScanRequest, SegmentedScan
    from vastus.preprocessing import Preprocessed
    from vastus.sarcopenia import ClinicalFacts

INTERRUPTED = 130
"""Exit code of a program that was told to stop, as shells expect it."""
UNFORESEEN = 1
STOPPED = "vastus: stopped; nothing half-written is left."


def segment(
    inputs: Annotated[
        list[Path],
        typer.Argument(help="CT scans: .nii, .nii.gz, .nrrd, .mha, a folder or zip of DICOM, or a PACS address."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder of the results; with several scans, each gets its own folder there."
        ),
    ],
    series: Annotated[
        str | None, typer.Option("--series", help="DICOM series to read (UID or its end); for a single scan.")
    ] = None,
    weights: WeightsOption = None,
    device: DeviceOption = Device.AUTO,
    runtime: RuntimeOption = RuntimeName.AUTO,
    precision: PrecisionOption = PrecisionChoice.AUTO,
    threads: Annotated[
        int | None,
        typer.Option("--threads", "-t", min=1, help="Number of processor threads; the labels do not depend on it."),
    ] = None,
    overlap: OverlapOption = None,
    sex: Annotated[
        str | None, typer.Option("--sex", help="Sex, M or F: compare with published values of this sex.")
    ] = None,
    age: Annotated[float | None, typer.Option("--age", help="Age in years, for the same comparison.")] = None,
    height_cm: Annotated[
        float | None, typer.Option("--height-cm", help="Height in cm; with the weight, it gives expected volumes.")
    ] = None,
    weight_kg: Annotated[
        float | None, typer.Option("--weight-kg", help="Weight in kg; with the height, it gives expected volumes.")
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option("--format", "-f", help=f"More result formats, with commas: {in_words(OUTPUT_FORMATS)}."),
    ] = None,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Also print the page to report.pdf (needs Chromium or weasyprint).")
    ] = False,
    send_to: Annotated[
        str | None,
        typer.Option("--send-to", help="Address of the PACS for the DICOM results: dicom:// or dicomweb://."),
    ] = None,
) -> None:
    """Label 27 muscles, femur and hip bone in CT scans, measure their volumes, and make a page to check them."""
    if series is not None and len(inputs) > 1:
        raise SettingsError("--series needs a single scan.")
    facts = _facts(sex, age, height_cm, weight_kg)
    if facts is not None and len(inputs) > 1:
        raise SettingsError("--sex, --age, --height-cm and --weight-kg describe one person, so give a single scan.")
    further = format_work(formats, send_to, inputs)
    if pdf:
        from vastus.report.pdf import require_printer

        require_printer()
    # This line comes before anything heavy is loaded, so that the user sees that the program runs.
    typer.echo("vastus: loading", err=True)
    with stopping_at_once(), fetched(inputs) as local, _pages_printed(output, as_pdf=pdf):
        with no_collecting():
            first = _start_reading(local[0], threads, series)
            loaded = _load(weights, RuntimeOptions(device, runtime, precision, threads), overlap, first)
        gc.freeze()  # what is loaded by now stays until the program ends: it need not be looked through for rubbish
        if len(local) == 1:
            from vastus.pipeline import ScanRequest

            request = ScanRequest(local[0], output, series=series, facts=facts)
            predictor = loaded.predictor
            _one(predictor, request, first, further, predictor.release, seen=loaded.seen, helper=loaded.helper)
        else:
            _many(loaded.predictor, local, output, (first, loaded.seen), further)


@contextmanager
def _pages_printed(output: Path, *, as_pdf: bool) -> Iterator[None]:
    """Print the pages that this call made, at the end, also if another scan failed; older pages stay as they are."""
    before = _pages(output) if as_pdf else {}
    try:
        yield
    finally:
        if as_pdf:
            from vastus.report.pdf import print_page

            for page, written in sorted(_pages(output).items()):
                if before.get(page) != written:
                    print_page(page, page.with_suffix(".pdf"))
                    typer.echo(f"printed: {page.with_suffix('.pdf')}", err=True)


def _pages(output: Path) -> dict[Path, int]:
    """Find the pages in a folder of results and when each was written (ns)."""
    found = (*output.glob("report.html"), *output.glob("*/report.html"))
    return {page: page.stat().st_mtime_ns for page in found}


def _facts(
    sex: str | None, age: float | None, height_cm: float | None, weight_kg: float | None
) -> ClinicalFacts | None:
    """Return the facts about the person from the options; None if no option was given."""
    if sex is None and age is None and height_cm is None and weight_kg is None:
        return None
    from vastus.sarcopenia import ClinicalFacts, Sex

    return ClinicalFacts(sex=Sex.from_word(sex), age_years=age, height_cm=height_cm, weight_kg=weight_kg)


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    """What is ready when the network is loaded.

    Attributes:
        predictor: the network.
        seen: the first scan, made ready for the network as soon as it is read.
        helper: the process that compiles loops, on a first run.
    """

    predictor: Predictor
    seen: Prefetch[Preprocessed]
    helper: subprocess.Popen[bytes] | None


def _start_reading(path: Path, threads: int | None, series: str | None = None) -> Prefetch[Scan]:
    from vastus.io.prefetch import Prefetch
    from vastus.io.scans import read_scan

    return Prefetch(lambda: read_scan(path, series=series), aside=threads != 1)


def _load(weights: Path | None, options: RuntimeOptions, overlap: float | None, reading: Prefetch[Scan]) -> _Loaded:
    """Load the network and, at the same time, the libraries that the first scan needs."""
    from vastus.inference.bundle import default_bundle, load_bundle
    from vastus.io.prefetch import Prefetch

    bundle = load_bundle(weights) if weights else default_bundle()

    def load_libraries() -> subprocess.Popen[bytes] | None:
        from vastus.inference.predictor import load_ahead
        from vastus.rehearsal import begin

        helper = begin() if options.threads != 1 else None
        load_ahead()
        import rich.progress  # noqa: F401

        import vastus.pipeline  # noqa: F401

        return helper

    def ready_for_network(scan: Scan) -> Preprocessed:
        from vastus.inference.predictor import make_ready

        return make_ready(scan.volume, bundle.info, options.threads)

    libraries = Prefetch(load_libraries, aside=options.threads != 1)
    seen = reading.then(ready_for_network)
    # The network is compiled outside the interpreter: meanwhile the other thread has it for numba and all the rest.
    from vastus.inference.runtime import open_runtime

    network = open_runtime(bundle, options)
    from vastus.inference.predictor import Predictor

    predictor = Predictor(bundle, options, overlap=overlap, network=network)
    helper = libraries.result()
    typer.echo(f"device: {predictor.device}", err=True)
    typer.echo(f"precision: {predictor.precision.precision.value} ({predictor.precision.because})", err=True)
    typer.echo(f"weights: {bundle.info.name} ({bundle.digest[:12]}), {bundle.info.trained_on}", err=True)
    return _Loaded(predictor, seen, helper)


def warning_lines(record: Mapping[str, Any]) -> list[str]:
    """Say what a reader must know of a scan: ``STOP`` only where every number is useless, not for single structures.

    Args:
        record: of the run, as in ``run.json``.
    """
    from vastus.io.tables import ALARMS

    alarms, warnings = record[ALARMS], record["warnings"]
    first = [f"{'STOP' if alarm in warnings else 'warning'}: {alarm}" for alarm in alarms]
    return [*first, *(f"warning: {warning}" for warning in warnings if warning not in alarms)]


def _one(
    predictor: Predictor,
    request: ScanRequest,
    reading: Prefetch[Scan],
    further: FormatWork,
    after_network: Callable[[], None] = lambda: None,
    on_done: Callable[[SegmentedScan], None] = lambda _: None,
    seen: Prefetch[Preprocessed] | None = None,
    helper: subprocess.Popen[bytes] | None = None,
) -> SegmentedScan:
    """Segment one scan and write its results; ``on_done`` is called before DICOM results are written and sent."""
    from vastus.inference.predictor import SegmentStage
    from vastus.pipeline import Begun, segment_to_folder

    with _progress(request.path.name, predictor.threads) as (on_scan, show):

        def on_progress(progress: Progress) -> None:
            show(progress)
            if progress.stage is SegmentStage.CLEAN:
                after_network()

        def read() -> Scan:
            return further.check(reading.result())

        done = segment_to_folder(
            predictor,
            request,
            on_scan=on_scan,
            on_progress=on_progress,
            begun=Begun(read, seen.result if seen else None, helper),
        )
    for line in warning_lines(done.record):
        typer.echo(line, err=True)
    found = sum(row.volume_mm3 is not None for row in done.rows)
    seconds = done.record["seconds"]["total"]
    typer.echo(f"{done.record['subject']}: {found} labels in {seconds:.1f} s -> {done.folder}")
    on_done(done)
    further.finish(done)
    return done


def _many(
    predictor: Predictor,
    inputs: list[Path],
    output: Path,
    first: tuple[Prefetch[Scan], Prefetch[Preprocessed]],
    further: FormatWork,
) -> None:
    """Segment scans into one folder each, and write one table of all. A scan that fails does not stop the others.

    The next scan is read while the labels of the one before are cleaned, measured and written.
    """
    from vastus.io.atomic import ensure_folder
    from vastus.io.csv_tables import write_volume_rows
    from vastus.io.folders import is_there
    from vastus.io.scans import subject_name
    from vastus.io.tables import VOLUMES_FILE
    from vastus.pipeline import ScanRequest

    ensure_folder(output)
    rows: list[VolumeRow] = []
    failed: list[int] = []
    taken: set[str] = set()
    coming: list[tuple[Prefetch[Scan], Prefetch[Preprocessed] | None]] = [first]

    def read_next() -> None:
        coming.extend((_start_reading(path, predictor.threads), None) for path in inputs[number : number + 1])

    for number, path in enumerate(inputs, start=1):
        subject = _unused(subject_name(path), taken)
        typer.echo(f"[{number}/{len(inputs)}] {path.name}", err=True)
        try:
            reading, seen = coming.pop() if coming else (_start_reading(path, predictor.threads), None)
            if not is_there(path):  # said before a folder is made by a name that no system may take
                raise MissingInputError("There is no such file or folder.", path=path)
            request = ScanRequest(path, output / subject, subject=subject)
            # The rows of a scan count as soon as it is segmented, also if a PACS then refuses its DICOM results.
            _one(
                predictor, request, reading, further, read_next, on_done=lambda done: rows.extend(done.rows), seen=seen
            )
        except VastusError as error:
            failed.append(error.exit_code)
            typer.echo(f"vastus: {type(error).__name__}: {error}", err=True)
        except Exception as error:  # an unexpected error in one scan must not lose the others
            failed.append(UNFORESEEN)
            typer.echo(f"vastus: unexpected failure ({type(error).__name__}) [{path}]", err=True)
    if rows:
        write_volume_rows(rows, output / VOLUMES_FILE)
    typer.echo(f"{len(inputs) - len(failed)} of {len(inputs)} scans done -> {output}")
    if failed:
        raise typer.Exit(failed[0])


def _unused(name: str, taken: set[str]) -> str:
    """Return a name that is not taken yet: two files of one name become ``scan`` and ``scan_2``."""
    candidate, number = name, 1
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate.casefold())
    return candidate


@contextmanager
def _progress(name: str, threads: int) -> Iterator[tuple[Any, OnProgress]]:
    """Show a bar with the time left on a terminal, and plain lines elsewhere."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    started = [0.0]
    with Bar(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(f"{name}: read", total=None)

        def on_scan(scan: Scan) -> None:
            size = " x ".join(str(n) for n in scan.volume.shape)
            spacing = " x ".join(f"{s:.2f}" for s in scan.volume.spacing_mm)
            bar.print(f"{name}: {size} voxels of {spacing} mm") if console.is_terminal else typer.echo(
                f"{name}: {size} voxels of {spacing} mm", err=True
            )

        def on_progress(progress: Progress) -> None:
            total = progress.total or None
            bar.update(task, description=f"{name}: {progress.stage.value}", completed=progress.done, total=total)
            if console.is_terminal or not progress.total:
                return
            # The first window is not counted: on a first run it waits for loops to be compiled.
            if progress.done == 1:
                started[0] = time.perf_counter()
            elif progress.done == min(1 + threads, progress.total):
                left = (time.perf_counter() - started[0]) / (progress.done - 1) * (progress.total - progress.done)
                typer.echo(f"{name}: {progress.total} windows, about {left:.0f} s left in the network", err=True)

        yield on_scan, on_progress


@contextmanager
def stopping_at_once() -> Iterator[None]:
    """Remove unfinished files and end at once on Ctrl-C or SIGTERM.

    An exception is not enough. It can get lost where compiled loops and libraries call back into Python, and it waits
    for every thread that is still running.
    """
    from vastus.io.atomic import clean_up_all

    def end(_signal: int, _frame: Any) -> None:
        clean_up_all()
        sys.stderr.write(f"{STOPPED}\n")
        sys.stderr.flush()
        os._exit(INTERRUPTED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_politely() -> None:
    """Let a batch system's SIGTERM clean up like Ctrl-C."""

    def interrupt(_signal: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    if sys.platform != "win32":
        signal.signal(signal.SIGTERM, interrupt)
