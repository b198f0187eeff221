"""One experiment's traffic: a trace as it was, or arrivals and requests drawn from a seed.

The same file drives a live endpoint and the simulator: both are given the sessions that `sessions` yields.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice, takewhile
from random import Random

from penstock.core.errors import InvalidSettings
from penstock.core.timeline import Slo
from penstock.simulator.workload import RequestSpec
from penstock_loadgen.arrivals import ArrivalSpec, arrival_times
from penstock_loadgen.class_traffic import cancel_after_tokens, turns_of
from penstock_loadgen.conversations import ConversationsSpec, conversations
from penstock_loadgen.endpoint import CHAT
from penstock_loadgen.lengths import LengthSpec
from penstock_loadgen.sessions import Session, TrafficClass, Turn
from penstock_loadgen.simulated_images import SimulatedImageSpec, with_images
from penstock_loadgen.simulated_prompts import request_spec
from penstock_loadgen.traces import MOONCAKE_BLOCK_TOKENS, TraceSpec, read_trace

SEED_STEP = 1009  # between repeats: far enough that "7 arrivals" and the like never meet


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """`classes` mix by share; without them there is one, of `lengths`.

    With a `trace`, arrivals, lengths and prefixes are its own, and classes only give what it does not say.
    `sessions` are conversations recovered from a table, for the simulator; they too have times of their own. A run ends
    after `num_requests` sessions (0 takes all of a trace, or as many as `duration_s` has room for) and sends nothing
    new after `duration_s`. Requests due before `warm_up_s` are sent and not counted.
    """

    num_requests: int = 1000
    seed: int = 0
    arrivals: ArrivalSpec = field(default_factory=ArrivalSpec)
    lengths: LengthSpec = field(default_factory=LengthSpec)
    trace: TraceSpec | None = None
    sessions: ConversationsSpec | None = None
    images: SimulatedImageSpec = field(default_factory=SimulatedImageSpec)  # of every request; for the simulator
    first_token_deadline_s: float = float("inf")  # after arrival; the gateway answers 429 then
    classes: tuple[TrafficClass, ...] = ()
    duration_s: float = float("inf")
    warm_up_s: float = 0.0
    slo: Slo = field(default_factory=Slo)  # of requests whose class has none
    name: str = ""

    def __post_init__(self) -> None:
        is_bounded = bool(self.trace or self.sessions) or self.duration_s < float("inf")
        if self.num_requests < (0 if is_bounded else 1):
            reason = "must be at least 1, or 0 with a trace or a duration_s"
            raise InvalidSettings("workload.num_requests", self.num_requests, reason)
        if self.warm_up_s >= self.duration_s:
            raise InvalidSettings("workload.warm_up_s", self.warm_up_s, "must be shorter than duration_s")
        if self.sessions is not None and (self.trace or self.classes):
            raise InvalidSettings("workload.sessions", self.sessions.path, "have lengths and times of their own")
        if self.images.num_images and self.sessions is not None:
            raise InvalidSettings("workload.images", self.images.num_images, "do not go with recovered sessions")
        if self.trace is not None:
            self._check_trace(self.trace)

    def _check_trace(self, trace: TraceSpec) -> None:
        if self.arrivals.is_closed:
            raise InvalidSettings("workload.arrivals.kind", self.arrivals.kind, "a trace brings its own times")
        for one in self.classes:
            if one.texts or one.turns.max > 1 or one.lengths != LengthSpec():
                raise InvalidSettings(f"workload.classes.{one.name}", one.name, "a trace brings its own prompts")
            if trace.kind == "mooncake" and (one.system_prompt or one.system_prompt_tokens):
                key = f"workload.classes.{one.name}.system_prompt"
                raise InvalidSettings(key, one.name, "the trace's prefixes begin with the prompt's first token")

    @property
    def mix(self) -> tuple[TrafficClass, ...]:
        return self.classes or (TrafficClass(lengths=self.lengths),)

    def slo_of(self, traffic_class: TrafficClass) -> Slo:
        """The class's own, or else everybody's."""
        return self.slo if traffic_class.slo == Slo() else traffic_class.slo

    def deadline_s_of(self, traffic_class: TrafficClass) -> float:
        """Of its first tokens, after arrival."""
        return min(traffic_class.first_token_deadline_s, self.first_token_deadline_s)

    @property
    def is_listable(self) -> bool:
        """Whether its requests are known before any of them is answered."""
        return not self.arrivals.is_closed and all(one.turns.max == 1 and one.texts is None for one in self.mix)

    @property
    def rate(self) -> float:
        """What goodput is searched over: sessions per second, or a trace's speed."""
        return self.trace.speed if self.trace else self.arrivals.rate

    def at_rate(self, rate: float) -> "WorkloadSpec":
        """The same traffic at another rate, or its trace at another speed."""
        if self.arrivals.is_closed:
            raise InvalidSettings("workload.arrivals.kind", self.arrivals.kind, "a closed loop has no rate to vary")
        if self.trace is not None:
            return replace(self, trace=replace(self.trace, speed=rate))
        return replace(self, arrivals=self.arrivals.at_rate(rate))

    def repeat(self, number: int) -> "WorkloadSpec":
        """The same experiment with other chance; the first repeat is the experiment itself."""
        return replace(self, seed=self.seed + SEED_STEP * number)


def sessions(spec: WorkloadSpec) -> Iterator[Session]:
    """The sessions in order of arrival; the same seed gives the same ones."""
    if spec.sessions is not None:
        reason = "is for `penstock simulate`; here give classes with turns"
        raise InvalidSettings("workload.sessions", spec.sessions.path, reason)
    if spec.images.num_images:
        raise InvalidSettings("workload.images", spec.images.num_images, "are for `penstock simulate`")
    return _sessions(spec)


def _sessions(spec: WorkloadSpec) -> Iterator[Session]:
    found = _recorded(spec) if spec.trace else _drawn(spec)
    found = islice(found, spec.num_requests or None)
    return takewhile(lambda session: session.due_s < spec.duration_s, found)


def refuse_unsendable_images(spec: WorkloadSpec, api: str) -> None:
    """For live endpoints: only messages have places for images."""
    for one in spec.mix:
        if one.images.count and api != CHAT:
            key = f"workload.classes.{one.name}.images"
            raise InvalidSettings(key, one.images.count, f"go with --api {CHAT} only")


def refuse_class_images(spec: WorkloadSpec) -> None:
    """For simulations: what a class's images cost is not known, only what `workload.images` say of themselves."""
    for one in spec.mix:
        if one.images.count:
            key = f"workload.classes.{one.name}.images"
            raise InvalidSettings(key, one.images.count, "are for a live endpoint; simulations know workload.images")


def generate(spec: WorkloadSpec) -> Iterator[RequestSpec]:
    """For simulations that need no answers to go on: open loops, of single turns or of times that are given."""
    refuse_class_images(spec)
    if not spec.is_listable:
        raise InvalidSettings("workload", spec.name, "closed loops and sessions must be played, not listed")
    if spec.sessions is not None:
        return islice(conversations(spec.sessions, Random(spec.seed)), spec.num_requests or None)
    requests = (
        request_spec(session, 0, session.due_s, spec.deadline_s_of(session.traffic_class))
        for session in _sessions(spec)
    )
    return (with_images(request, spec.images) for request in requests)


def _drawn(spec: WorkloadSpec) -> Iterator[Session]:
    # one generator each: another rate leaves the lengths as they are, so that a sweep compares like with like
    times = arrival_times(spec.arrivals, Random(f"{spec.seed} arrivals"))
    choices = Random(f"{spec.seed} classes")
    shares = [one.share for one in spec.mix]
    drawn = [turns_of(one, spec.seed, bool(spec.classes)) for one in spec.mix]
    for number, due_s in enumerate(times):
        (index,) = choices.choices(range(len(shares)), shares)
        yield Session(number, due_s, spec.mix[index], next(drawn[index]), index)


def _recorded(spec: WorkloadSpec) -> Iterator[Session]:
    assert spec.trace is not None
    choices = Random(f"{spec.seed} classes")
    shares = [one.share for one in spec.mix]
    for number, row in enumerate(read_trace(spec.trace, Random(spec.seed))):
        (index,) = choices.choices(range(len(shares)), shares)
        one = spec.mix[index]
        turn = Turn(
            row.num_prompt_tokens,
            row.num_output_tokens,
            text=row.text,
            num_images=one.images.count,
            cancel_after_tokens=cancel_after_tokens(one, choices),
        )
        yield Session(number, row.arrived_s, one, (turn,), index, row.prefix_ids, MOONCAKE_BLOCK_TOKENS)
