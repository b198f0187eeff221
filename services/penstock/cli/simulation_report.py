"""What `penstock simulate` shows: tables for people, data for programs, plots for both."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from penstock.cli.experiment import Point
from penstock.core.timeline import Summary
from penstock.simulator.metrics import PoolSample
from penstock.simulator.report import Report
from penstock.simulator.svg import Panel, document


def tables(points: Sequence[Point], reports: Sequence[Report]) -> list[Table | Text]:
    """A line per run; of a single run also its pools and where its time went."""
    shown: list[Table | Text] = [_runs(points, reports)]
    if len(reports) == 1:
        shown += [_stages(reports[0]), _pools(reports[0])]
    return [*shown, *(_notes(only) for only in reports if len(reports) == 1)]


def as_data(points: Sequence[Point], reports: Sequence[Report]) -> list[dict[str, Any]]:
    """For JSON: one object per run; the swept value is `null` when nothing was swept."""
    return [
        {"key": point.key, "value": point.value, **only.as_data()} for point, only in zip(points, reports, strict=True)
    ]


def plots(points: Sequence[Point], reports: Sequence[Report]) -> str:
    """SVG: over the swept values attainment and latencies; of a single run its pools over time."""
    return document(_over_values(points, reports) if len(reports) > 1 else _over_time(reports[0]))


def _runs(points: Sequence[Point], reports: Sequence[Report]) -> Table:
    table = _table(
        f"{reports[0].name}: {reports[0].requests.num_arrived} requests (seconds)",
        ("value", "failed", "attained", "goodput/GPU"),
    )
    columns = (("ttft_s", "p50"), ("ttft_s", "p90"), ("ttft_s", "p99"), ("tpot_s", "p90"), ("itl_s", "p99"))
    for name, quantile in columns:
        table.add_column(f"{name.removesuffix('_s').upper()}\n{quantile}", justify="right")
    for point, only in zip(points, reports, strict=True):
        table.add_row(
            "-" if point.value is None else f"{point.value:g}",
            str(only.requests.num_failed),
            f"{only.attainment:.1%}",
            f"{only.goodput_per_gpu:.3f}",
            *(_seconds(only.latencies[name], quantile) for name, quantile in columns),
        )
    return table


def _table(title: str, headers: Sequence[str]) -> Table:
    table = Table(title=title, box=None, title_justify="left", header_style="bold", padding=(0, 2, 0, 0))
    for index, header in enumerate(headers):
        table.add_column(header.replace("/", "/\n"), justify="right" if index else "left")
    return table


def _stages(only: Report) -> Table:
    table = _table("\nwhere the time goes (seconds)", ("stage", "requests", "mean", "p50", "p90", "p99"))
    for stage, summary in only.stages.items():
        if summary is not None:
            values = (_seconds(summary, name) for name in ("mean", "p50", "p90", "p99"))
            table.add_row(stage, str(summary.count), *values)
    return table


def _pools(only: Report) -> Table:
    headers = ("pool", "workers", "GPUs", "busy", "steps", "prompt", "cached", "sampled", "preempted/swapped")
    table = _table("\npools (tokens)", headers)
    for role, pool in only.pools.items():
        table.add_row(
            role,
            str(pool.num_workers),
            str(pool.num_gpus),
            f"{pool.busy_share:.1%}",
            str(pool.num_steps),
            str(pool.num_prompt_tokens),
            f"{pool.cached_share:.1%}",
            str(pool.num_sampled_tokens),
            f"{pool.num_preemptions}/{pool.num_swaps}",
        )
    return table


def _notes(only: Report) -> Text:
    rejections = ", ".join(f"{count} {code}" for code, count in only.rejections.items()) or "none"
    failures = ", ".join(f"{count} {code}" for code, count in only.requests.failures.items()) or "none"
    return Text(
        f"\nrejections: {rejections}; failures: {failures}; resumed: {only.num_resumes}; "
        f"KV moved: {only.transfer.num_bytes / 1e9:.1f} GB in {only.transfer.num_operations} operations; "
        f"flips: {len(only.flips)}; virtual time: {only.duration_s:.1f} s, {only.num_events} events"
    )


def _seconds(summary: Summary | None, name: str) -> str:
    return "-" if summary is None else f"{getattr(summary, name):.3g}"


def _over_values(points: Sequence[Point], reports: Sequence[Report]) -> list[Panel]:
    values = [point.value or 0.0 for point in points]
    attained = list(zip(values, (only.attainment for only in reports), strict=True))
    panels = [Panel(f"{reports[0].name}: SLO attainment", points[0].key, "share", {"attained": attained}, 1.0, True)]
    for name, label in (("ttft_s", "TTFT"), ("tpot_s", "TPOT")):
        series = {
            quantile: [
                (value, getattr(summary, quantile))
                for value, only in zip(values, reports, strict=True)
                if (summary := only.latencies[name]) is not None
            ]
            for quantile in ("p50", "p90", "p99")
        }
        panels.append(Panel(label, points[0].key, "seconds", series, has_markers=True))
    return panels


def _over_time(only: Report) -> list[Panel]:
    workers = {pool: samples for pool, samples in only.history.items() if pool != "gateway"}

    def series(histories: dict[str, list[PoolSample]], name: str) -> dict[str, list[tuple[float, float]]]:
        return {pool: [(sample.time_s, getattr(sample, name)) for sample in it] for pool, it in histories.items()}

    return [
        Panel(f"{only.name}: sequences running", "seconds", "sequences", series(workers, "num_running")),
        Panel("waiting", "seconds", "requests", series(only.history, "num_waiting")),
        Panel("KV blocks referenced", "seconds", "share", series(workers, "kv_usage"), 1.0),
        Panel("workers alive", "seconds", "workers", series(workers, "num_workers")),
    ]
