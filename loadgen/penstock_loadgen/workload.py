"""One experiment's traffic: a trace as it was, or arrivals and lengths drawn from a seed."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from random import Random

from penstock.core.errors import InvalidSettings
from penstock.simulator.workload import RequestSpec
from penstock_loadgen.arrivals import ArrivalSpec, arrival_times
from penstock_loadgen.lengths import LengthSpec, lengths
from penstock_loadgen.sessions import SessionSpec, sessions
from penstock_loadgen.traces import TraceSpec, read_trace


@dataclass(frozen=True, slots=True)
class ClassSpec:
    """One kind of requests among others, drawn with probability `share` over the sum of all shares."""

    name: str
    share: float
    lengths: LengthSpec
    first_token_deadline_s: float = float("inf")
    priority: int = 0


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """A `trace` and `sessions` have arrivals and lengths of their own, and 0 requests means all of them. `classes`
    have lengths and deadlines of their own."""

    num_requests: int = 1000
    seed: int = 0
    arrivals: ArrivalSpec = field(default_factory=ArrivalSpec)
    lengths: LengthSpec = field(default_factory=LengthSpec)
    classes: tuple[ClassSpec, ...] = ()
    trace: TraceSpec | None = None
    sessions: SessionSpec | None = None
    first_token_deadline_s: float = float("inf")  # after arrival; the gateway answers 429 then

    def __post_init__(self) -> None:
        if self.num_requests < (0 if self.trace or self.sessions else 1):
            raise InvalidSettings("workload.num_requests", self.num_requests, "must be at least 1, or 0 with a trace")
        if sum(map(bool, (self.classes, self.trace, self.sessions))) > 1:
            raise InvalidSettings(
                "workload", "classes, trace, sessions", "each has lengths of its own: give one of them"
            )
        if self.classes and not all(kind.share > 0 for kind in self.classes):
            raise InvalidSettings("workload.classes.share", 0, "must be above 0")


def generate(spec: WorkloadSpec) -> Iterator[RequestSpec]:
    """The requests in order of arrival; the same seed gives the same ones."""
    if spec.sessions:
        yield from islice(sessions(spec.sessions, Random(spec.seed)), spec.num_requests or None)
        return
    if spec.classes:
        yield from islice(_of_classes(spec), spec.num_requests)
        return
    requests = read_trace(spec.trace, Random(spec.seed)) if spec.trace else _drawn(spec)
    for request in islice(requests, spec.num_requests or None):
        yield replace(request, first_token_deadline_s=spec.first_token_deadline_s)


def _of_classes(spec: WorkloadSpec) -> Iterator[RequestSpec]:
    times = arrival_times(spec.arrivals, Random(f"{spec.seed} arrivals"))
    draw = Random(f"{spec.seed} classes")
    shares = [kind.share for kind in spec.classes]
    pairs = {kind.name: lengths(kind.lengths, Random(f"{spec.seed} lengths {kind.name}")) for kind in spec.classes}
    for arrived_s in times:
        [kind] = draw.choices(spec.classes, shares)
        num_prompt_tokens, num_output_tokens = next(pairs[kind.name])
        yield RequestSpec(
            arrived_s,
            num_prompt_tokens,
            num_output_tokens,
            first_token_deadline_s=kind.first_token_deadline_s,
            priority=kind.priority,
        )


def _drawn(spec: WorkloadSpec) -> Iterator[RequestSpec]:
    # one generator each: another rate leaves the lengths as they are, so that a sweep compares like with like
    times = arrival_times(spec.arrivals, Random(f"{spec.seed} arrivals"))
    pairs = lengths(spec.lengths, Random(f"{spec.seed} lengths"))
    for arrived_s, (num_prompt_tokens, num_output_tokens) in zip(times, pairs, strict=False):
        yield RequestSpec(arrived_s, num_prompt_tokens, num_output_tokens)
