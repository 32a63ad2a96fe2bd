"""``vastus batch``: an archive of scans, on this machine or on a Dask cluster."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vastus.errors import InputError, PacsError
from vastus.inference.choices import Device, PrecisionChoice, RuntimeName, RuntimeOptions

if TYPE_CHECKING:
    from vastus.batch.engine import BatchEngine, WorkerPlan
    from vastus.batch.runner import BatchResult, OpenBatch


def batch(
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Folders (searched through), scans, or lists (.csv or .parquet with a column 'path')."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of results; run again to go on in it.")],
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Folder of a bundle, or a shipped one's name.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-w", min=1, help="Scans at a time; default: what cores and memory bear."),
    ] = None,
    threads: Annotated[int | None, typer.Option("--threads", "-t", min=1, help="Threads of each worker.")] = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Address of a Dask scheduler: its workers do the scans.")
    ] = None,
    pages: Annotated[bool, typer.Option("--pages", help="Also a page for every scan.")] = False,
    measures: Annotated[
        bool, typer.Option("--measures", help="Also one table of density, areas, fat, asymmetry of all scans.")
    ] = False,
    measure_settings: Annotated[
        Path | None, typer.Option("--measure-settings", help="TOML with HU thresholds and levels.")
    ] = None,
    measure_again: Annotated[
        bool, typer.Option("--measure-again", help="Measure finished scans again, from their stored labels.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try refused scans and those set aside again.")] = False,
    every_series: Annotated[
        bool, typer.Option("--every-series", help="Every CT series of a study, not only the best.")
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.0, help="Seconds for one try of a scan; three tries; 0: no limit.")
    ] = 3600.0,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Scans to do at most, now.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done, how long it takes, how much disk it needs.")
    ] = False,
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", min=0, max=65535, help="Prometheus metrics on 127.0.0.1.")
    ] = None,
    device: Annotated[Device, typer.Option("--device", help="Where the network runs.")] = Device.AUTO,
    runtime: Annotated[RuntimeName, typer.Option("--runtime", help="What runs it.")] = RuntimeName.AUTO,
    precision: Annotated[
        PrecisionChoice, typer.Option("--precision", help="auto: the fastest checked for these weights.")
    ] = PrecisionChoice.AUTO,
    overlap: Annotated[
        float | None, typer.Option("--overlap", min=0.0, max=0.9, help="Overlap of windows; default: the bundle's.")
    ] = None,
    workbook: Annotated[
        bool, typer.Option("--workbook", help="Also results.xlsx: a row a patient, and what the columns mean.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Segment and measure an archive of scans: one table, a page to look through, a list of what to look at first."""
    from vastus.batch.forecast import as_dict, as_text, forecast
    from vastus.batch.logs import BatchProgress
    from vastus.batch.processor import Extras, SegmentFactory
    from vastus.batch.runner import BatchRequest, OpenBatch
    from vastus.batch.task import ScanState
    from vastus.cli.segment import stop_politely
    from vastus.inference.bundle import default_bundle, load_bundle
    from vastus.morphometry import MeasureSettings, load_measure_settings

    stop_politely()
    bundle = load_bundle(weights) if weights else default_bundle()
    settings = load_measure_settings(measure_settings) if measure_settings else MeasureSettings()
    factory = SegmentFactory.of(
        bundle, RuntimeOptions(device, runtime, precision), overlap, Extras(pages, measures, settings)
    )
    request = BatchRequest(
        inputs,
        output,
        every_series=every_series,
        retry=(ScanState.REFUSED, ScanState.SET_ASIDE) if retry else (),
        measure_again=measure_again,
        limit=limit,
        metrics_port=metrics_port,
    )
    with OpenBatch(request, factory, dry=dry_run) as opened:
        plan, gpus = _plan(opened, factory.options, workers, threads)
        if dry_run:
            seen = forecast(opened, plan.workers, plan.threads)
            typer.echo(json.dumps(as_dict(seen), indent=2) if as_json else as_text(seen))
            return
        engine = _engine(plan, gpus, scheduler, threads, timeout)
        typer.echo(f"{opened.found} scans found, {opened.waiting} to do, {engine.workers} at a time", err=True)
        result = opened.work(engine, BatchProgress(opened.waiting))
    if workbook and result.counts[ScanState.DONE]:
        from vastus.batch.workbook import write_batch_workbook

        write_batch_workbook(output)
    _report(result, output, as_json=as_json)
    if result.counts[ScanState.REFUSED] + result.counts[ScanState.SET_ASIDE]:
        raise typer.Exit(InputError.exit_code)
    if result.counts[ScanState.WAITING]:
        raise typer.Exit(PacsError.exit_code)


def _plan(
    opened: OpenBatch, options: RuntimeOptions, workers: int | None, threads: int | None
) -> tuple[WorkerPlan, tuple[str, ...]]:
    """Workers, and the graphics cards they are spread over: one worker a card."""
    from vastus.batch.engine import plan_workers, visible_gpus
    from vastus.inference.runtime import choose

    gpus: tuple[str, ...] = ()
    if choose(options)[0] is Device.CUDA:
        import torch

        gpus = visible_gpus(torch.cuda.device_count())
        workers = workers or len(gpus)
    peak = opened.ledger.history(opened.keys.labels).peak_bytes
    wanted = None if workers is None else min(workers, max(1, opened.waiting))
    plan = plan_workers(wanted, threads, peak)
    if plan.workers > max(1, opened.waiting):
        plan = plan_workers(max(1, opened.waiting), threads, peak)
    return plan, gpus


def _engine(
    plan: WorkerPlan, gpus: tuple[str, ...], scheduler: str | None, threads: int | None, timeout_s: float
) -> BatchEngine:
    limit = timeout_s or None
    if scheduler is not None:
        from vastus.batch.engine_dask import DaskEngine

        return DaskEngine(scheduler, threads, limit)
    from vastus.batch.engine_local import LocalEngine

    return LocalEngine(plan.workers, plan.threads, gpus, limit)


def _report(result: BatchResult, output: Path, *, as_json: bool) -> None:
    from vastus.batch.ledger import LEDGER_FILE
    from vastus.batch.task import ScanState

    counts = {state.value: n for state, n in result.counts.items()}
    if as_json:
        typer.echo(json.dumps({"worked": result.worked, "scans": counts, "look_first": result.look_first}, indent=2))
        return
    typer.echo(
        f"{counts['done']} scans done ({result.worked} worked on now), {counts['refused']} refused,"
        f" {counts['set_aside']} set aside, {counts['pending'] + counts['waiting']} waiting -> {output}"
    )
    if counts[ScanState.WAITING.value]:
        typer.echo(
            f"{counts[ScanState.WAITING.value]} of them could not be reached (PACS, network drive). No try was counted:"
            " run the same command again.",
            err=True,
        )
    if result.look_first:
        typer.echo(f"{result.look_first} scans to look at first: {output / 'look_first.csv'}")
    if counts[ScanState.REFUSED.value] or counts[ScanState.SET_ASIDE.value] or counts[ScanState.WAITING.value]:
        typer.echo(f"Why scans failed: {output / 'failed.csv'} and {LEDGER_FILE}", file=sys.stderr)
