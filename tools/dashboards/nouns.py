"""What a dashboard is, before it is JSON: rows of panels, each of a few queries."""

from dataclasses import dataclass

SECONDS, RATE, TOKENS, BYTES, SHARE, COUNT = "s", "reqps", "short", "Bps", "percentunit", "short"


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and what its lines are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines over time, or with `is_stat` one number a query."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    meaning: str = ""
    is_stat: bool = False
    is_stacked: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard; its file is named after `name`."""

    name: str
    title: str
    rows: tuple[Row, ...]


def quantiles(histogram: str, by: str = "", where: str = "", legend: str = "") -> tuple[Query, ...]:
    """p50 and p99 of a histogram, by a label if there is one."""
    labels = f"le, {by}" if by else "le"
    rate = f"rate({histogram}_bucket{where}[$__rate_interval])"
    name = f"{{{{{by}}}}} " if by else legend
    return tuple(
        Query(f"histogram_quantile({share}, sum by ({labels}) ({rate}))", f"{name}p{round(share * 100)}".strip())
        for share in (0.5, 0.99)
    )


def rate(counter: str, by: str = "", where: str = "") -> Query:
    """Per second, by a label if there is one."""
    expr = f"rate({counter}{where}[$__rate_interval])"
    return (
        Query(f"sum by ({by}) ({expr})", " ".join(f"{{{{{label}}}}}" for label in by.split(", ")))
        if by
        else Query(f"sum({expr})")
    )


def by_role(expr: str) -> str:
    """The sum of something by worker, by the workers' roles instead."""
    return f"sum by (role) (({expr}) * on (worker) group_left (role) penstock:worker_role:info)"
