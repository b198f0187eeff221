"""A result as one HTML file that needs nothing from outside: style, drawing code and data are in it."""

import json
from collections.abc import Sequence
from html import escape

from penstock.core.timeline import Summary
from penstock_loadgen.experiment import Experiment, Trial
from penstock_loadgen.report import charts
from penstock_loadgen.report.parts import document, number, section, table
from penstock_loadgen.summary import LATENCIES, QUANTILES, RunSummary, shown

_COLUMNS = ("mean", *QUANTILES, "max")


def page(experiment: Experiment, trials: Sequence[Trial]) -> str:
    """The whole file."""
    shown = trials[0]
    sections = [
        _header(experiment),
        _verdict(experiment),
        _tiles(shown.repeat.summary),
        section("Goodput", [charts.goodput(experiment.goodput, experiment.rate_unit)] if experiment.goodput else []),
        section(_over_time_title(trials), charts.timelines(shown), _events(shown)),
        section("The target, as it saw itself", charts.pools(shown.outcome.history)),
        section("Latencies", charts.distributions(trials), _latency_table(shown.repeat.summary)),
        _tables(experiment, shown),
        _workload(experiment),
    ]
    return document(experiment.name, sections)


def _header(experiment: Experiment) -> str:
    target = experiment.target
    where = target.get("url") or f"simulated: {target.get('scenario')}"
    what = target.get("model") or ", ".join(target.get("pools", ()))
    facts = [where, what, target.get("started", ""), _runs(experiment)]
    line = " · ".join(escape(fact) for fact in facts if fact)
    return f"<header><h1>{escape(experiment.name)}</h1><p>{line}</p></header>"


def _runs(experiment: Experiment) -> str:
    return f"{len(experiment.repeats)} runs" if len(experiment.repeats) > 1 else ""


def _verdict(experiment: Experiment) -> str:
    reasons = [reason for repeat in experiment.repeats for reason in repeat.validity.reasons]
    if reasons:
        items = "".join(f"<li>{escape(reason)}.</li>" for reason in dict.fromkeys(reasons))
        said = "<strong>Invalid.</strong> What follows measures the client too:"
        return f'<div class="verdict bad">{said}<ul>{items}</ul></div>'
    if experiment.target["kind"] != "live":
        return '<div class="verdict good"><strong>Simulated</strong>, in virtual time: the client is never late.</div>'
    late_s = max(repeat.validity.lateness_p99_s for repeat in experiment.repeats)
    return (
        f'<div class="verdict good"><strong>Valid.</strong> The client kept to its schedule: '
        f"99 % of the requests were sent at most {late_s * 1e3:.1f} ms late.</div>"
    )


def _tiles(summary: RunSummary) -> str:
    def latency(name: str, quantile: str) -> str:
        values = summary.latencies[name]
        return "-" if values is None else f"{number(getattr(values, quantile) * 1e3)} ms"

    tiles = [
        ("finished", f"{number(summary.requests_per_s)}/s", f"of {number(summary.sent_per_s)}/s sent"),
        ("tokens out", f"{number(summary.output_tokens_per_s)}/s", f"{number(summary.prompt_tokens_per_s)}/s in"),
        ("TTFT p50", latency("ttft_s", "p50"), f"p99 {latency('ttft_s', 'p99')}"),
        ("TPOT p50", latency("tpot_s", "p50"), f"p99 {latency('tpot_s', 'p99')}"),
        ("objectives met", f"{summary.attainment:.1%}", f"goodput {number(summary.goodput)}/s"),
        ("failed", str(summary.num_failed), f"of {summary.num_requests}"),
    ]
    cells = (
        f'<div class="tile"><span>{name}</span><b>{value}</b><small>{note}</small></div>' for name, value, note in tiles
    )
    return f'<div class="tiles">{"".join(cells)}</div>'


def _over_time_title(trials: Sequence[Trial]) -> str:
    return "Over time" if len(trials) == 1 else f"Over time (run 1 of {len(trials)})"


def _events(trial: Trial) -> str:
    events = trial.outcome.history.events
    items = "".join(f"<li><b>{event.time_s:.1f} s</b> {escape(event.what)}</li>" for event in events)
    return f'<h3>What happened to workers</h3><ol class="events">{items}</ol>' if events else ""


def _latency_table(summary: RunSummary) -> str:
    rows = [(label, summary.latencies[name]) for name, label in LATENCIES.items()]
    body = [[label, *_milliseconds(values)] for label, values in rows if values is not None]
    return table("Latencies (ms)", ["", *_COLUMNS], body)


def _milliseconds(values: Summary) -> list[str]:
    return [number(getattr(values, column) * 1e3) for column in _COLUMNS]


def _tables(experiment: Experiment, trial: Trial) -> str:
    tables = []
    if trial.repeat.classes:
        tables.append(_classes(trial.repeat.classes))
    if len(experiment.repeats) > 1:
        tables.append(_intervals(experiment))
    failures = trial.repeat.summary.failures
    if failures:
        sentences = {record.kind: record.error for record in reversed(trial.outcome.records) if record.is_failed}
        body = [[kind, str(count), sentences.get(kind, "")[:160]] for kind, count in failures.items()]
        tables.append(table("Failures", ["kind", "requests", "the first of them"], body))
    return f"<section><h2>Tables</h2>{''.join(tables)}</section>" if tables else ""


def _classes(classes: dict[str, RunSummary]) -> str:
    head = ["class", "requests", "failed", "TTFT p50", "TTFT p99", "TPOT p50", "TPOT p99", "met"]
    body = []
    for name, summary in classes.items():
        values = [(summary.latencies[key], quantile) for key in ("ttft_s", "tpot_s") for quantile in ("p50", "p99")]
        cells = ["-" if value is None else number(getattr(value, quantile) * 1e3) for value, quantile in values]
        body.append([name, str(summary.num_requests), str(summary.num_failed), *cells, f"{summary.attainment:.1%}"])
    return table("Classes (ms)", head, body)


def _intervals(experiment: Experiment) -> str:
    body = []
    for name, one in experiment.intervals.items():
        label, scale = shown(name)
        bounds = [value for value in (one.mean, one.low, one.high) if value is not None]
        body.append([label, *(number(value * scale) for value in bounds)])
    return table(f"Means of {len(experiment.repeats)} runs", ["", "mean", "95 % from", "to"], body)


def _workload(experiment: Experiment) -> str:
    described = json.dumps(experiment.described_workload, indent=1, ensure_ascii=False)
    return f"<details><summary>The workload, in full</summary><pre>{escape(described)}</pre></details>"
