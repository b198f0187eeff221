"""Recorded traffic: request times, lengths and shared prefixes from public trace files, read as they are needed.

azure      CSV TIMESTAMP, ContextTokens, GeneratedTokens    Azure/AzurePublicDataset (CC-BY 4.0)
apex       CSV StartTimeOffset_ns, ContextTokens, ...       microsoft/apex_plus (MIT)
burstgpt   CSV Timestamp (s), Model, Request tokens, Response tokens, Total tokens, Log Type
                                                            HPMLL/BurstGPT (CC-BY 4.0)
mooncake   JSON lines: timestamp (ms), input_length, output_length, hash_ids of 512 tokens
                                                            kvcache-ai/Mooncake (Apache-2.0)
text       JSON lines: timestamp (s), prompt, output_tokens    your own
"""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from typing import TextIO

from penstock.core.errors import InvalidSettings
from penstock_loadgen.texts import num_tokens_of, said_in

MOONCAKE_BLOCK_TOKENS = 512


@dataclass(frozen=True, slots=True)
class TraceSpec:
    """`speed` 2 plays it twice as fast. Mooncake's conversation file has time stamps rounded to 3 s, which is no
    property of its traffic: `jitter_s` 3 spreads them evenly."""

    kind: str
    path: str
    speed: float = 1.0
    jitter_s: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in _READERS:
            raise InvalidSettings("workload.trace.kind", self.kind, f"must be one of {', '.join(_READERS)}")
        if not self.speed > 0 or self.jitter_s < 0:
            raise InvalidSettings("workload.trace", f"speed={self.speed}", "speed above 0, jitter_s at least 0")


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One recorded request; equal `prefix_ids` at equal places mean equal tokens up to there."""

    arrived_s: float
    num_prompt_tokens: int
    num_output_tokens: int
    prefix_ids: tuple[int, ...] = ()
    text: str = ""


def read_trace(spec: TraceSpec, random: Random) -> Iterator[TraceRow]:
    """The requests of a trace file in order of arrival, the first at its own offset."""
    for request in _jittered(_read(spec), spec.jitter_s, random):
        yield replace(request, arrived_s=request.arrived_s / spec.speed)


def _read(spec: TraceSpec) -> Iterator[TraceRow]:
    try:
        with Path(spec.path).open(encoding="utf8", newline="") as file:
            yield from _READERS[spec.kind](file)
    except OSError as error:
        raise InvalidSettings("workload.trace.path", spec.path, error.strerror or "cannot be read") from error
    except (KeyError, ValueError, TypeError) as error:
        raise InvalidSettings("workload.trace.path", spec.path, f"is no {spec.kind} trace ({error!r})") from error


def _jittered(requests: Iterator[TraceRow], jitter_s: float, random: Random) -> Iterator[TraceRow]:
    """Delay each by up to `jitter_s` and put them in order again; holds no more than that span of the trace."""
    if not jitter_s:
        yield from requests
        return
    held: list[tuple[float, int, TraceRow]] = []
    for number, request in enumerate(requests):
        while held and held[0][0] <= request.arrived_s:
            yield heappop(held)[2]
        delayed = replace(request, arrived_s=request.arrived_s + random.uniform(0, jitter_s))
        heappush(held, (delayed.arrived_s, number, delayed))
    while held:
        yield heappop(held)[2]


def _mooncake(file: TextIO) -> Iterator[TraceRow]:
    for line in file:
        row = json.loads(line)
        yield TraceRow(
            row["timestamp"] / 1000,
            max(1, row["input_length"]),
            max(1, row["output_length"]),
            tuple(row["hash_ids"]),
        )


def _azure(file: TextIO) -> Iterator[TraceRow]:
    first: datetime | None = None
    for row in csv.DictReader(file):
        stamp = datetime.fromisoformat(row["TIMESTAMP"][:26])  # seven decimals, of which datetime reads six
        first = first or stamp
        yield _lengths_of(row, (stamp - first).total_seconds())


def _apex(file: TextIO) -> Iterator[TraceRow]:
    for row in csv.DictReader(file):
        yield _lengths_of(row, int(row["StartTimeOffset_ns"]) / 1e9)


def _burstgpt(file: TextIO) -> Iterator[TraceRow]:
    """Requests that failed have no response tokens; they are left out, as the data set's authors do."""
    first_s: float | None = None
    for row in csv.DictReader(file):
        num_prompt_tokens, num_output_tokens = int(row["Request tokens"]), int(row["Response tokens"])
        if num_output_tokens < 1:
            continue
        stamp_s = float(row["Timestamp"])
        first_s = stamp_s if first_s is None else first_s
        yield TraceRow(stamp_s - first_s, max(1, num_prompt_tokens), num_output_tokens)


def _text(file: TextIO) -> Iterator[TraceRow]:
    for line in filter(str.strip, file):
        row = json.loads(line)
        said = said_in(row)
        yield TraceRow(float(row["timestamp"]), num_tokens_of(said.text), said.num_output_tokens, text=said.text)


def _lengths_of(row: dict[str, str], arrived_s: float) -> TraceRow:
    return TraceRow(arrived_s, max(1, int(row["ContextTokens"])), max(1, int(row["GeneratedTokens"])))


_READERS: dict[str, Callable[[TextIO], Iterator[TraceRow]]] = {
    "azure": _azure,
    "apex": _apex,
    "burstgpt": _burstgpt,
    "mooncake": _mooncake,
    "text": _text,
}
