"""Which differences between two results are real.

With at least MIN_REPEATS repeats on each side: the exact Mann-Whitney U test on the repeats' figures, which sees how
much runs differ by themselves. With fewer: a bootstrap of the difference over requests, drawn in blocks of neighbours
because they shared a queue; it cannot see what differs from run to run, so two single runs on a noisy machine may
differ "really" for no reason that matters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb, erfc, sqrt
from statistics import fmean

import numpy as np
import numpy.typing as npt

from penstock_loadgen.results import Raw, Result

MIN_REPEATS = 4  # 4 against 4 can reach p = 0.029; 3 against 3 no less than 0.1
SIGNIFICANCE = 0.05
MAX_EXACT = 20_000  # ways to split the repeats; beyond, the normal approximation
NUM_BLOCKS = 20  # a side
NUM_RESAMPLES = 400

MANN_WHITNEY = f"Mann-Whitney U over repeats, two-sided, p < {SIGNIFICANCE}"
BOOTSTRAP = f"block bootstrap over requests ({NUM_RESAMPLES} resamples of blocks), 95 % interval without 0"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Difference:
    """`change` is of b against a, as a share of a; `p` or the interval says how sure that is."""

    name: str
    a: float
    b: float
    is_real: bool
    p: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def change(self) -> float | None:
        return (self.b - self.a) / self.a if self.a else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every figure that both have, and the test that judged."""

    test: str
    differences: tuple[Difference, ...]


def compare(a: Result, b: Result, seed: int = 0) -> Comparison:
    """Judge each figure by the best test the data allow."""
    if min(len(a.figures), len(b.figures)) >= MIN_REPEATS:
        return Comparison(MANN_WHITNEY, tuple(_by_repeats(a.figures, b.figures)))
    return Comparison(BOOTSTRAP, tuple(_by_requests(a, b, np.random.default_rng(seed))))


def _by_repeats(a: Sequence[dict[str, float]], b: Sequence[dict[str, float]]) -> list[Difference]:
    names = [name for name in a[0] if all(name in repeat for repeat in (*a, *b))]
    found = []
    for name in names:
        ours, theirs = [repeat[name] for repeat in a], [repeat[name] for repeat in b]
        p = mann_whitney_p(ours, theirs)
        found.append(Difference(name, fmean(ours), fmean(theirs), p < SIGNIFICANCE, p=p))
    return found


def mann_whitney_p(a: Sequence[float], b: Sequence[float]) -> float:
    """Two-sided p: the share of all splits of the pooled values that are at least as lopsided as this one."""
    ranks = _ranks([*a, *b])
    expected = len(a) * (len(ranks) + 1) / 2
    observed = abs(sum(ranks[: len(a)]) - expected)
    if comb(len(ranks), len(a)) <= MAX_EXACT:
        splits = [abs(sum(split) - expected) for split in combinations(ranks, len(a))]
        return sum(split >= observed - 1e-9 for split in splits) / len(splits)
    mean_rank = fmean(ranks)
    variance = sum((rank - mean_rank) ** 2 for rank in ranks) / (len(ranks) - 1)  # less than without ties
    spread = sqrt(variance * len(a) * len(b) / len(ranks))
    return erfc(max(0.0, observed - 0.5) / spread / sqrt(2)) if spread else 1.0


def _ranks(values: Sequence[float]) -> list[float]:
    """From 1; equal values share the mean of theirs."""
    ordered = sorted(values)
    first = {value: index for index, value in reversed(list(enumerate(ordered)))}
    return [first[value] + (ordered.count(value) + 1) / 2 for value in values]


@dataclass(frozen=True, slots=True)
class _Sample:
    """The values of one figure on one side, ascending, and the block each came from."""

    values: Floats
    blocks: npt.NDArray[np.int64]
    num_blocks: int

    @property
    def weights(self) -> Floats:
        return np.ones(self.num_blocks)

    def mean(self, weights: Floats) -> float:
        return float(np.average(self.values, weights=_spread(weights, self.blocks)))

    def quantile(self, fraction: float, weights: Floats) -> float:
        cumulative = np.cumsum(_spread(weights, self.blocks))
        return float(self.values[min(len(self.values) - 1, np.searchsorted(cumulative, fraction * cumulative[-1]))])


def _spread(weights: Floats, blocks: npt.NDArray[np.int64]) -> Floats:
    spread = weights[blocks]
    return spread if spread.any() else np.ones(len(blocks))


Statistic = Callable[[_Sample, Floats], float]


def _quantile(fraction: float) -> Statistic:
    return lambda sample, weights: sample.quantile(fraction, weights)


def _mean(sample: _Sample, weights: Floats) -> float:
    return sample.mean(weights)


_STATISTICS: dict[str, Statistic] = {
    "mean": _mean,
    "p50": _quantile(0.5),
    "p90": _quantile(0.9),
    "p95": _quantile(0.95),
    "p99": _quantile(0.99),
}


def _by_requests(a: Result, b: Result, random: np.random.Generator) -> list[Difference]:
    found = []
    for label, values_of in _VALUES.items():
        ours, theirs = _sample(a, values_of), _sample(b, values_of)
        if ours is None or theirs is None:
            continue
        statistics = {label: _mean} if label in _SHARES else {f"{label} {key}": one for key, one in _STATISTICS.items()}
        found += [_bootstrap(name, one, ours, theirs, random) for name, one in statistics.items()]
    return found


def _bootstrap(name: str, statistic: Statistic, a: _Sample, b: _Sample, random: np.random.Generator) -> Difference:
    differences = [
        statistic(b, _resampled(b.num_blocks, random)) - statistic(a, _resampled(a.num_blocks, random))
        for _ in range(NUM_RESAMPLES)
    ]
    low, high = (float(bound) for bound in np.quantile(differences, (0.025, 0.975)))
    return Difference(name, statistic(a, a.weights), statistic(b, b.weights), low > 0 or high < 0, low=low, high=high)


def _resampled(num_blocks: int, random: np.random.Generator) -> Floats:
    """How often each block was drawn."""
    return np.bincount(random.integers(0, num_blocks, num_blocks), minlength=num_blocks).astype(np.float64)


def _sample(result: Result, values_of: Callable[[Raw], Sequence[float]]) -> _Sample | None:
    """Blocks are stretches of neighbours in the order of sending, over all repeats."""
    rows = [row for repeat in result.requests for row in repeat]
    num_blocks = min(NUM_BLOCKS, len(rows))
    values: list[float] = []
    blocks: list[int] = []
    for index, row in enumerate(rows):
        found = values_of(row)
        values += found
        blocks += [index * num_blocks // len(rows)] * len(found)
    if not values:
        return None
    order = np.argsort(values, kind="stable")
    return _Sample(np.asarray(values, np.float64)[order], np.asarray(blocks, np.int64)[order], num_blocks)


def _field(name: str) -> Callable[[Raw], Sequence[float]]:
    return lambda row: () if row["end"] != "ok" or row[name] is None else (row[name],)


def _gaps(row: Raw) -> Sequence[float]:
    return np.diff(row["event_offsets_s"]).tolist() if row["end"] == "ok" else ()


def _is_met(row: Raw) -> Sequence[float]:
    return () if row["end"] == "cancelled" else (float(row["is_met"]),)


def _is_failed(row: Raw) -> Sequence[float]:
    return (float(row["end"] not in ("ok", "cancelled")),)


_VALUES: dict[str, Callable[[Raw], Sequence[float]]] = {
    "attainment": _is_met,
    "failed share": _is_failed,
    "TTFT": _field("ttft_s"),
    "TPOT": _field("tpot_s"),
    "ITL": _gaps,
    "E2E": _field("e2e_s"),
}
_SHARES = ("attainment", "failed share")
