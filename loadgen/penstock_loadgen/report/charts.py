"""The plots of a report as plain data; `chart.js` draws them at whatever width there is.

A chart: {"title", "x": axis, "y": axis, "series": [...], "marks": [{"x", "text"}], "limit": y or null}
An axis: {"unit", "log", "min", "max"}, all but the unit optional
A series: {"name", "kind": line | step | points, "points": [[x, y], ...]}
Latencies are in ms here and nowhere else: that is how people read them.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from penstock.core.timeline import percentile
from penstock_loadgen.cluster_watch import ClusterHistory, PoolPoint
from penstock_loadgen.experiment import GoodputFound, Trial
from penstock_loadgen.record import RequestRecord
from penstock_loadgen.summary import LATENCIES

Chart = dict[str, Any]
Points = list[list[float]]

MAX_CDF_POINTS = 160
MAX_SCATTER_POINTS = 1200
MAX_BUCKETS = 120
_MIN_BUCKET_S = 0.5
_TIME = {"unit": "s since the start"}
_LOG_SPAN = 8  # largest against smallest, from which an axis is logarithmic
_MS = 1e3


def timelines(trial: Trial) -> list[Chart]:
    """One run over time: what was sent, and how long it took."""
    records = trial.outcome.records
    if not records:
        return []
    bucket_s = _bucket_s(records)
    marks = [{"x": event.time_s, "text": event.what} for event in trial.outcome.history.events]
    slo = records[0].slo if all(record.slo == records[0].slo for record in records) else None
    charts = [
        plot("Requests per second", _TIME, {"unit": "requests/s"}, _rates(records, bucket_s)),
        _latency_over_time("TTFT", records, lambda record: record.ttft_s, bucket_s, slo.ttft_s if slo else None),
        _latency_over_time(
            "TPOT", records, lambda record: record.timeline.tpot_s, bucket_s, slo.tpot_s if slo else None
        ),
        plot("Tokens per second", _TIME, {"unit": "tokens/s"}, [line("output tokens", _tokens(records, bucket_s))]),
        plot("Requests in flight", _TIME, {"unit": "requests"}, [line("in flight", _in_flight(records), "step")]),
    ]
    time = {**_TIME, "min": 0.0, "max": _short(max(record.ended_s for record in records))}
    return [{**chart, "x": time, "marks": marks} for chart in charts]


def distributions(trials: Sequence[Trial]) -> list[Chart]:
    """Cumulative distributions of each latency: a line per repeat, or per class where there is one repeat."""
    groups = _groups(trials)
    charts = []
    for name, label in LATENCIES.items():
        series = [line(group, _cdf(_values(records, name))) for group, records in groups.items()]
        series = [one for one in series if one["points"]]
        if series:
            share = "gaps" if name == "itl_s" else "requests"
            charts.append(plot(f"{label}: share of {share} within", _span(series), {"unit": "%", "max": 100}, series))
    return charts


def pools(history: ClusterHistory) -> list[Chart]:
    """What the target said of itself."""
    if not history.pools:
        return []
    marks = [{"x": event.time_s, "text": event.what} for event in history.events]
    figures: list[tuple[str, str, Callable[[PoolPoint], float]]] = [
        ("Workers in each pool", "workers", lambda point: point.num_workers),
        ("Running in each pool", "requests", lambda point: point.num_running),
        ("Waiting in each pool", "requests", lambda point: point.num_waiting),
        ("KV blocks in use", "%", lambda point: 100 * point.kv_usage),
    ]
    charts = []
    for title, unit, figure in figures:
        series = [
            line(role, [[point.time_s, figure(point)] for point in _thinned(points, MAX_BUCKETS * 4)], "step")
            for role, points in history.pools.items()
        ]
        charts.append({**plot(title, _TIME, {"unit": unit}, series), "marks": marks})
    return charts


def goodput(found: GoodputFound, unit: str) -> Chart:
    """What each rate attained."""
    points = [[probe.rate, 100 * probe.attained] for probe in found.probes]
    series = [line("attained", points), line("tried", points, "points")]
    chart = plot("Objectives attained at each rate", {"unit": unit}, {"unit": "%", "max": 100}, series)
    return {**chart, "limit": 100 * found.goal}


def plot(title: str, x: dict[str, Any], y: dict[str, Any], series: list[dict[str, Any]]) -> Chart:
    """Without marks and limit."""
    return {"title": title, "x": x, "y": y, "series": series, "marks": [], "limit": None}


def line(name: str, points: Points, kind: str = "line") -> dict[str, Any]:
    """A series."""
    return {"name": name, "kind": kind, "points": [[_short(x), _short(y)] for x, y in points]}


def _short(value: float) -> float:
    """Five digits draw any curve, and make a page that can be mailed."""
    return float(f"{value:.5g}")


def _bucket_s(records: Sequence[RequestRecord]) -> float:
    """A round width that leaves at most MAX_BUCKETS."""
    end_s = max(record.ended_s for record in records)
    wanted_s = max(_MIN_BUCKET_S, end_s / MAX_BUCKETS)
    return next((width for width in (0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600) if width >= wanted_s), wanted_s)


def _counts(times_s: Iterable[float], bucket_s: float, num_buckets: int) -> Points:
    counts = [0] * num_buckets
    for time_s in times_s:
        if time_s >= 0:
            counts[min(num_buckets - 1, int(time_s / bucket_s))] += 1
    return [[(index + 0.5) * bucket_s, count / bucket_s] for index, count in enumerate(counts)]


def _num_buckets(records: Sequence[RequestRecord], bucket_s: float) -> int:
    return int(max(record.ended_s for record in records) / bucket_s) + 1


def _rates(records: Sequence[RequestRecord], bucket_s: float) -> list[dict[str, Any]]:
    num_buckets = _num_buckets(records, bucket_s)
    ended = {
        "finished": [record.ended_s for record in records if record.is_success],
        "failed": [record.ended_s for record in records if record.is_failed],
        "given up on purpose": [record.ended_s for record in records if not (record.is_success or record.is_failed)],
    }
    series = [line("sent", _counts((record.sent_s for record in records), bucket_s, num_buckets))]
    return series + [line(name, _counts(times, bucket_s, num_buckets)) for name, times in ended.items() if times]


def _tokens(records: Sequence[RequestRecord], bucket_s: float) -> Points:
    times = (time_s for record in records for time_s in record.timeline.token_times_s)
    return _counts(times, bucket_s, _num_buckets(records, bucket_s))


def _in_flight(records: Sequence[RequestRecord]) -> Points:
    changes = sorted([(record.sent_s, 1) for record in records] + [(record.ended_s, -1) for record in records])
    points, level = [[0.0, 0.0]], 0
    for time_s, change in changes:
        level += change
        points.append([time_s, level])
    return _thinned(points, MAX_SCATTER_POINTS)


def _latency_over_time(
    label: str,
    records: Sequence[RequestRecord],
    figure: Callable[[RequestRecord], float | None],
    bucket_s: float,
    limit_s: float | None,
) -> Chart:
    """By the time of sending; the rate at that time is the chart above."""
    pairs = [(record.sent_s, value * _MS) for record in records if (value := figure(record)) is not None]
    buckets: dict[int, list[float]] = {}
    for sent_s, value in pairs:
        buckets.setdefault(int(sent_s / bucket_s), []).append(value)
    series = [line("each request", [list(pair) for pair in _thinned(pairs, MAX_SCATTER_POINTS)], "points")]
    for name, fraction in (("p50", 0.5), ("p99", 0.99)):
        points = [[(at + 0.5) * bucket_s, percentile(sorted(buckets[at]), fraction)] for at in sorted(buckets)]
        series.append(line(name, points))
    chart = plot(f"{label} by time of sending", _TIME, {"unit": "ms"}, series)
    is_bounded = limit_s is not None and limit_s < float("inf")
    return {**chart, "limit": limit_s * _MS if is_bounded and limit_s is not None else None}


def _groups(trials: Sequence[Trial]) -> dict[str, list[RequestRecord]]:
    counted = [[record for record in trial.outcome.records if not record.is_warm_up] for trial in trials]
    if len(counted) > 1:
        return {f"run {number}": records for number, records in enumerate(counted, 1)}
    groups: dict[str, list[RequestRecord]] = {}
    for record in counted[0]:
        groups.setdefault(record.class_name, []).append(record)
    return {"all requests": counted[0]} if len(groups) == 1 else dict(sorted(groups.items()))


def _span(series: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The axis of distributions, without the lowest 1 %: a few gaps of nothing would squeeze all else to the right."""
    low = min(next(x for x, share in one["points"] if share >= 1) for one in series)
    high = max(one["points"][-1][0] for one in series)
    is_wide = high > _LOG_SPAN * low
    return {"unit": "ms", "log": is_wide, "min": low if is_wide else 0.9 * low, "max": high if is_wide else 1.02 * high}


def _values(records: Sequence[RequestRecord], name: str) -> list[float]:
    finished = [record for record in records if record.is_success]
    if name == "itl_s":
        return [gap_s for record in finished for gap_s in record.itl_s]
    found = (getattr(record.timeline, name) for record in finished)
    return [value for value in found if value is not None]


def _cdf(values: Sequence[float]) -> Points:
    """Denser towards the tail, which is what is looked at."""
    ordered = sorted(values)
    if not ordered:
        return []
    shares = [index / MAX_CDF_POINTS for index in range(MAX_CDF_POINTS)] + [0.995, 0.998, 0.999, 1.0]
    return [[max(1e-3, percentile(ordered, share) * _MS), 100 * share] for share in shares]


def _thinned(items: Sequence[Any], max_items: int) -> list[Any]:
    """Every so-manieth; with the last, so that a line does not end early."""
    step = -(-len(items) // max_items)
    return list(items) if step <= 1 else [*items[::step], items[-1]]
