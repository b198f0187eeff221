"""What is sent: sessions of one or more turns, described before anything is known of who answers.

A session is what arrives. Most have one turn, which is one request. A further turn is sent `think_s` after the answer
to the one before, with all that was said so far in front of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.core.errors import InvalidSettings
from penstock.core.timeline import Slo
from penstock_loadgen.lengths import LengthSpec
from penstock_loadgen.texts import TextSpec

BEFORE, AFTER = "before", "after"


@dataclass(frozen=True, slots=True)
class TurnSpec:
    """How many turns a session has (uniform between the two) and how long a user thinks (exponential)."""

    min: int = 1
    max: int = 1
    think_mean_s: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.max:
            raise InvalidSettings("turns", f"min={self.min}, max={self.max}", "1 <= min <= max is needed")


@dataclass(frozen=True, slots=True)
class CancelSpec:
    """`share` of the requests is given up by the client after `after_tokens` of the answer."""

    share: float = 0.0
    after_tokens: int = 1

    def __post_init__(self) -> None:
        if self.share > 1 or self.after_tokens < 1:
            raise InvalidSettings("cancel", f"share={self.share}", "share is at most 1, after_tokens at least 1")


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """`count` images go with the first turn, of so many pixels.

    Each has a content of its own; with a `pool`, those of a session are different ones of `pool` pictures, drawn from
    the seed and shown in the pool's order, so that others show them again. `place`: before or after the turn's words.
    """

    count: int = 0
    width: int = 336
    height: int = 336
    pool: int = 0
    place: str = BEFORE

    def __post_init__(self) -> None:
        if self.count < 0 or min(self.width, self.height) < 1:
            raise InvalidSettings("images", f"{self.count} of {self.width} x {self.height}", "no picture is that small")
        if self.pool and self.pool < self.count:
            raise InvalidSettings("images.pool", self.pool, f"a session shows {self.count} different ones of it")
        if self.place not in (BEFORE, AFTER):
            raise InvalidSettings("images.place", self.place, f"must be {BEFORE} or {AFTER} (the words)")


@dataclass(frozen=True, slots=True)
class TrafficClass:
    """Requests of one kind. `lengths` are of a turn's own words, without what is shared or was said before."""

    name: str = "default"
    share: float = 1.0  # of the sum of all shares
    lengths: LengthSpec = field(default_factory=LengthSpec)
    texts: TextSpec | None = None  # real prompts instead of invented ones of `lengths`
    turns: TurnSpec = field(default_factory=TurnSpec)
    system_prompt_tokens: int = 0  # invented, the same for the whole class
    system_prompt: str = ""  # or this one, word for word
    images: ImageSpec = field(default_factory=ImageSpec)
    cancel: CancelSpec = field(default_factory=CancelSpec)
    slo: Slo = field(default_factory=Slo)
    sends_slo: bool = False  # in the headers that llm-d named
    first_token_deadline_s: float = float("inf")  # after arrival; infinity: the workload's
    priority: int = 0  # larger is more urgent
    tenant: str = ""
    api_key: str = ""  # of the tenant, instead of the one given to the command
    headers: Mapping[str, Any] = field(default_factory=dict)  # sent as they are
    body: Mapping[str, Any] = field(default_factory=dict)  # added to each request's body

    def __post_init__(self) -> None:
        if not self.share > 0:
            raise InvalidSettings(f"workload.classes.{self.name}.share", self.share, "must be above 0")


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of a session."""

    num_new_tokens: int  # said now; with `text`, an estimate until the server has counted
    num_output_tokens: int
    text: str = ""
    think_s: float = 0.0
    num_images: int = 0
    cancel_after_tokens: int = 0  # 0: read to the end

    @property
    def is_given_up(self) -> bool:
        """Whether the client leaves before the end of an answer of that length."""
        return 0 < self.cancel_after_tokens < self.num_output_tokens

    @property
    def num_read_tokens(self) -> int:
        """Tokens of the answer that the client stays for."""
        return self.cancel_after_tokens if self.is_given_up else self.num_output_tokens


@dataclass(frozen=True, slots=True)
class Session:
    """`due_s` counts from the start of the run. `prefix_ids` are a trace's: see simulator.workload.RequestSpec."""

    number: int
    due_s: float
    traffic_class: TrafficClass
    turns: tuple[Turn, ...]
    class_index: int = 0
    prefix_ids: tuple[int, ...] = ()
    tokens_per_prefix_id: int = 512
