"""The result of `penstock bench` in the terminal."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from penstock.core.timeline import Summary
from penstock_loadgen.experiment import Experiment
from penstock_loadgen.intervals import Interval
from penstock_loadgen.summary import LATENCIES, QUANTILES, Repeat, RunSummary, shown


def result(experiment: Experiment) -> Group:
    """Everything that matters, on one screen."""
    repeat = experiment.repeats[-1]
    parts: list[RenderableType] = [_latencies(repeat.summary), Text(), *_lines(repeat.summary)]
    if repeat.classes:
        parts += [Text(), _classes(repeat)]
    if len(experiment.repeats) > 1:
        parts += [Text(), _intervals(experiment.intervals, len(experiment.repeats))]
    if experiment.goodput is not None:
        found = experiment.goodput
        what = f"goodput: {found.rate:.3g} {experiment.rate_unit} attain {found.attained:.1%} (goal {found.goal:.0%})"
        parts += [Text(), Text(f"{what}, found in {len(found.probes)} runs", "bold")]
    return Group(*parts, *_verdict(experiment))


def _latencies(summary: RunSummary) -> Table:
    table = _table("latency (ms)", ("mean", *QUANTILES, "max"))
    for name, label in LATENCIES.items():
        values = summary.latencies[name]
        if values is not None:
            table.add_row(label, *(f"{getattr(values, key) * 1e3:,.2f}" for key in ("mean", *QUANTILES, "max")))
    return table


def _lines(summary: RunSummary) -> list[Text]:
    failures = ", ".join(f"{count} {kind}" for kind, count in summary.failures.items())
    ends = f"{summary.num_requests} requests: {summary.num_finished} finished, {summary.num_failed} failed"
    if summary.num_cancelled:
        ends += f", {summary.num_cancelled} given up on purpose"
    if summary.num_retries:
        ends += f", {summary.num_retries} retries"
    if summary.num_warm_up:
        ends += f" ({summary.num_warm_up} more in the warm-up)"
    lines = [
        Text(ends),
        Text(
            f"{summary.requests_per_s:.2f} requests/s finished of {summary.sent_per_s:.2f} sent, "
            f"{summary.output_tokens_per_s:,.0f} tokens/s out, {summary.prompt_tokens_per_s:,.0f} in, "
            f"over {summary.duration_s:.1f} s"
        ),
        Text(f"tokens: {_tokens(summary.prompt_tokens)} in, {_tokens(summary.output_tokens)} out{_cached(summary)}"),
        Text(f"objectives attained: {summary.attainment:.1%}, goodput {summary.goodput:.2f} requests/s"),
    ]
    if failures:
        lines.append(Text(f"failures: {failures}", "red"))
    if summary.num_without_usage:
        lines.append(Text(f"{summary.num_without_usage} answers had no usage: their tokens are events", "yellow"))
    return lines


def _cached(summary: RunSummary) -> str:
    return f", {summary.cached_share:.0%} of the prompts cached" if summary.cached_share else ""


def _tokens(summary: Summary | None) -> str:
    return "none" if summary is None else f"mean {summary.mean:.0f} (p50 {summary.p50:.0f}, p99 {summary.p99:.0f})"


def _classes(repeat: Repeat) -> Table:
    table = _table("class", ("requests", "failed", "TTFT p50", "p99", "TPOT p50", "p99", "attained"))
    for name, summary in repeat.classes.items():
        values = [summary.latencies["ttft_s"], summary.latencies["tpot_s"]]
        cells = [_ms(value, key) for value in values for key in ("p50", "p99")]
        table.add_row(name, str(summary.num_requests), str(summary.num_failed), *cells, f"{summary.attainment:.1%}")
    return table


def _ms(summary: Summary | None, key: str) -> str:
    return "-" if summary is None else f"{getattr(summary, key) * 1e3:,.1f}"


def _intervals(intervals: dict[str, Interval], num_repeats: int) -> Table:
    table = _table(f"mean of {num_repeats} runs", ("mean", "95 % from", "to"))
    for name, one in intervals.items():
        label, scale = shown(name)
        bounds = (value for value in (one.mean, one.low, one.high) if value is not None)
        table.add_row(label, *(f"{value * scale:,.4g}" for value in bounds))
    return table


def _verdict(experiment: Experiment) -> list[Text]:
    lines = [
        Text(f"INVALID (seed {repeat.seed}): {reason}.", "bold red")
        for repeat in experiment.repeats
        for reason in repeat.validity.reasons
    ]
    if lines:
        return [Text(), *lines]
    late = max(repeat.validity.lateness_p99_s for repeat in experiment.repeats)
    if experiment.target["kind"] == "live":
        return [Text(f"valid: the client was on time (P99 of its sends {late * 1e3:.1f} ms late)", "green")]
    return []


def _table(first: str, numbers: tuple[str, ...]) -> Table:
    table = Table(box=None, title_justify="left", header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="right")
    return table
