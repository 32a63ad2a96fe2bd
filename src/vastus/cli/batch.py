"""``vastus batch``: an archive of scans, on this machine or on a Dask cluster."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vastus.cli.network_options import DeviceOption, OverlapOption, PrecisionOption, RuntimeOption, WeightsOption
from vastus.errors import InputError, PacsError
from vastus.inference.choices import Device, PrecisionChoice, RuntimeName, RuntimeOptions

if TYPE_CHECKING:
    from vastus.batch.engine import BatchEngine, WorkerPlan
    from vastus.batch.runner import BatchResult, OpenBatch


def batch(
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Folders (with subfolders), scans, or lists (.csv or .parquet with a column 'path')."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the results; the same command continues there.")
    ],
    weights: WeightsOption = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-w", min=1, help="Scans at a time; default: as many as cores and memory allow."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", "-t", min=1, help="Number of threads of each worker.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Address of a Dask scheduler; its workers segment the scans.")
    ] = None,
    pages: Annotated[bool, typer.Option("--pages", help="Also write a page for every scan.")] = False,
    measures: Annotated[
        bool,
        typer.Option("--measures", help="Also write one table with density, areas, fat and asymmetry of all scans."),
    ] = False,
    measure_settings: Annotated[
        Path | None, typer.Option("--measure-settings", help="TOML file with HU thresholds and levels.")
    ] = None,
    measure_again: Annotated[
        bool, typer.Option("--measure-again", help="Measure finished scans again, from their stored labels.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try again the scans that were refused or set aside.")] = False,
    every_series: Annotated[
        bool, typer.Option("--every-series", help="Segment every CT series of a study, not only the best one.")
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.0, help="Seconds for one try of a scan (three tries); 0: no limit.")
    ] = 3600.0,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Largest number of scans in this run.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do nothing; show the scans to do, the time and the disk space they need.")
    ] = False,
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", min=0, max=65535, help="Port on 127.0.0.1 for Prometheus metrics.")
    ] = None,
    device: DeviceOption = Device.AUTO,
    runtime: RuntimeOption = RuntimeName.AUTO,
    precision: PrecisionOption = PrecisionChoice.AUTO,
    overlap: OverlapOption = None,
    workbook: Annotated[
        bool,
        typer.Option(
            "--workbook", help="Also write results.xlsx: one row for each patient, and the meaning of the columns."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Segment and measure many scans: one table, one page of pictures, and a list of the scans to check first."""
    typer.echo("vastus batch: loading", err=True)
    from vastus.batch.archive import keep_table
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
        keep_table(bundle.info.table, output)
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
    """Choose the number of workers, and the graphics cards for them (one worker for each card)."""
    from vastus.batch.engine import plan_workers, visible_gpus
    from vastus.inference.runtime import choose

    gpus: tuple[str, ...] = ()
    if choose(options)[0] is Device.CUDA:
        import torch

        gpus = visible_gpus(torch.cuda.device_count())
        workers = workers or len(gpus)
    peak = opened.ledger.history(opened.keys.labels).peak_bytes
    useful_workers = None if workers is None else min(workers, max(1, opened.waiting))
    plan = plan_workers(useful_workers, threads, peak)
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
