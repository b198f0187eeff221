"""Whether a proposed flip may begin now: hysteresis, cool-down, minimum counts, one flip in flight.

Stands behind every policy that proposes flips (`role_flips`, `role_switch`, `routing_xllm`, `role_ratio`), none of
which has these guards as published. What must be remembered is one small value, passed in and handed out:

    proposals     .  P>D  P>D  P>D  .  D>P  D>P ...............
    held for `hold_s` ------^ begins: in flight -> finished, cool-down runs
    the other way again: not before `reverse_cool_down_s` after the last
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from penstock.core.pools import Flip
from penstock.core.types import Role


@dataclass(frozen=True, slots=True)
class FlipLimits:
    """`min_workers` says how many must remain in a role; 1 where it says nothing."""

    hold_s: float = 3.0
    cool_down_s: float = 10.0
    reverse_cool_down_s: float = 60.0
    timeout_s: float = 120.0  # a flip that has not been reported finished by then is believed lost
    min_workers: Mapping[Role, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FlipState:
    """What has been wanted since when, what is under way, and what was done last. Starts empty."""

    wanted: tuple[Role, Role] | None = None  # (from, to)
    wanted_since_s: float = 0.0
    in_flight: Flip | None = None
    last: Flip | None = None
    last_s: float = float("-inf")  # when the last flip began, then when it finished


def decide(
    proposed: Flip | None, state: FlipState, num_workers: Mapping[Role, int], now_s: float, limits: FlipLimits
) -> tuple[Flip | None, FlipState]:
    """The flip to begin now, if any, and what to remember. Call it at every tick, with None when nothing is proposed.

    `num_workers` counts workers that serve a role or are on their way to it.
    """
    state = _remember(proposed, state, now_s, limits)
    if proposed is None or state.in_flight is not None:
        return None, state
    if now_s - state.wanted_since_s < limits.hold_s or now_s - state.last_s < _cool_down_s(proposed, state, limits):
        return None, state
    if num_workers.get(proposed.from_role, 0) <= limits.min_workers.get(proposed.from_role, 1):
        return None, state
    return proposed, replace(state, in_flight=proposed, last=proposed, last_s=now_s)


def finish(state: FlipState, now_s: float) -> FlipState:
    """The flip in flight has been carried out, or has failed: the cool-down begins."""
    return replace(state, in_flight=None, last_s=now_s)


def _remember(proposed: Flip | None, state: FlipState, now_s: float, limits: FlipLimits) -> FlipState:
    if state.in_flight is not None and now_s - state.last_s >= limits.timeout_s:
        state = finish(state, now_s)
    wanted = (proposed.from_role, proposed.to_role) if proposed else None
    if wanted == state.wanted:
        return state
    return replace(state, wanted=wanted, wanted_since_s=now_s)


def _cool_down_s(proposed: Flip, state: FlipState, limits: FlipLimits) -> float:
    last = state.last
    is_reverse = last is not None and proposed.from_role is last.to_role and proposed.to_role is last.from_role
    return limits.reverse_cool_down_s if is_reverse else limits.cool_down_s
