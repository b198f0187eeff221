"""How long prompts and answers are: endless streams of (prompt tokens, output tokens)."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from math import log, sqrt
from pathlib import Path
from random import Random

from penstock.core.errors import InvalidSettings

Lengths = tuple[int, int]

_COLUMNS = (("num_prefill_tokens", "num_decode_tokens"), ("ContextTokens", "GeneratedTokens"))
"""Headers of length tables in the wild: Sarathi-Serve's and vidur's, Azure's and APEX's."""


@dataclass(frozen=True, slots=True)
class LengthSpec:
    """Tokens. `fixed` takes the means as they are, `normal` and `lognormal` also the coefficients of variation, `csv`
    the file."""

    kind: str = "fixed"
    prompt_mean: float = 512
    output_mean: float = 128
    prompt_cv: float = 1.0
    output_cv: float = 1.0
    path: str = ""  # of a CSV with one row per request; rows are drawn at random, with replacement
    max_total_tokens: int = 0  # longer requests are drawn again; 0: no limit

    def __post_init__(self) -> None:
        if self.kind not in _DRAWS:
            raise InvalidSettings("workload.lengths.kind", self.kind, f"must be one of {', '.join(_DRAWS)}")
        if self.prompt_mean < 1 or self.output_mean < 1:
            raise InvalidSettings("workload.lengths", self.kind, "means must be at least 1 token")


def lengths(spec: LengthSpec, random: Random) -> Iterator[Lengths]:
    """Pairs of at least one token each, for ever."""
    draw = _DRAWS[spec.kind](spec)
    num_refused = 0
    while num_refused < 10_000:
        prompt, output = draw(random)
        if spec.max_total_tokens and prompt + output > spec.max_total_tokens:
            num_refused += 1
            continue
        num_refused = 0
        yield max(1, prompt), max(1, output)
    raise InvalidSettings("workload.lengths.max_total_tokens", spec.max_total_tokens, "nearly nothing is that short")


def read_lengths(path: str) -> tuple[Lengths, ...]:
    """Every row of a length table, read once: a search for a rate draws from the same table many times."""
    try:
        status = Path(path).stat()
        return _read(path, (status.st_mtime_ns, status.st_size))
    except OSError as error:
        raise InvalidSettings("workload.lengths.path", path, error.strerror or "cannot be read") from error


@cache
def _read(path: str, _version: tuple[int, int]) -> tuple[Lengths, ...]:
    """As the file was when it was last changed."""
    with Path(path).open(encoding="utf8", newline="") as file:
        rows = csv.DictReader(file)
        header = rows.fieldnames or ()
        columns = next((pair for pair in _COLUMNS if set(pair) <= set(header)), None)
        if columns is None:
            raise InvalidSettings("workload.lengths.path", path, f"has none of the column pairs {_COLUMNS}")
        return tuple((int(row[columns[0]]), int(row[columns[1]])) for row in rows)


Draw = Callable[[Random], Lengths]


def _fixed(spec: LengthSpec) -> Draw:
    pair = round(spec.prompt_mean), round(spec.output_mean)
    return lambda random: pair


def _normal(spec: LengthSpec) -> Draw:
    """What falls below 1 token is 1 token: with a wide spread the mean is a little higher than asked for."""
    prompt = spec.prompt_mean, spec.prompt_mean * spec.prompt_cv
    output = spec.output_mean, spec.output_mean * spec.output_cv
    return lambda random: (round(random.gauss(*prompt)), round(random.gauss(*output)))


def _lognormal(spec: LengthSpec) -> Draw:
    prompt, output = _mu_sigma(spec.prompt_mean, spec.prompt_cv), _mu_sigma(spec.output_mean, spec.output_cv)
    return lambda random: (round(random.lognormvariate(*prompt)), round(random.lognormvariate(*output)))


def _mu_sigma(mean: float, cv: float) -> tuple[float, float]:
    """Parameters of the log-normal distribution of this mean and coefficient of variation."""
    variance = log(1 + cv**2)
    return log(mean) - variance / 2, sqrt(variance)


def _csv(spec: LengthSpec) -> Draw:
    rows = read_lengths(spec.path)
    return lambda random: random.choice(rows)


_DRAWS: dict[str, Callable[[LengthSpec], Draw]] = {
    "fixed": _fixed,
    "normal": _normal,
    "lognormal": _lognormal,
    "csv": _csv,
}
