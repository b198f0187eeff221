"""One experiment's traffic: a trace as it was, or arrivals and lengths drawn from a seed."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from random import Random

from penstock.core.errors import InvalidSettings
from penstock.simulator.workload import RequestSpec
from penstock_loadgen.arrivals import ArrivalSpec, arrival_times
from penstock_loadgen.lengths import LengthSpec, lengths
from penstock_loadgen.traces import TraceSpec, read_trace


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """With a `trace`, arrivals and lengths are its own; `num_requests` 0 takes all of it."""

    num_requests: int = 1000
    seed: int = 0
    arrivals: ArrivalSpec = field(default_factory=ArrivalSpec)
    lengths: LengthSpec = field(default_factory=LengthSpec)
    trace: TraceSpec | None = None
    first_token_deadline_s: float = float("inf")  # after arrival; the gateway answers 429 then

    def __post_init__(self) -> None:
        if self.num_requests < (0 if self.trace else 1):
            raise InvalidSettings("workload.num_requests", self.num_requests, "must be at least 1, or 0 with a trace")


def generate(spec: WorkloadSpec) -> Iterator[RequestSpec]:
    """The requests in order of arrival; the same seed gives the same ones."""
    requests = read_trace(spec.trace, Random(spec.seed)) if spec.trace else _drawn(spec)
    for request in islice(requests, spec.num_requests or None):
        yield replace(request, first_token_deadline_s=spec.first_token_deadline_s)


def _drawn(spec: WorkloadSpec) -> Iterator[RequestSpec]:
    # one generator each: another rate leaves the lengths as they are, so that a sweep compares like with like
    times = arrival_times(spec.arrivals, Random(f"{spec.seed} arrivals"))
    pairs = lengths(spec.lengths, Random(f"{spec.seed} lengths"))
    for arrived_s, (num_prompt_tokens, num_output_tokens) in zip(times, pairs, strict=False):
        yield RequestSpec(arrived_s, num_prompt_tokens, num_output_tokens)
