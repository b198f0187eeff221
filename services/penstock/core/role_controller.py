"""Which worker changes its role now, if any: the decision of seconds. Takes no part in a request's life.

Asked every `interval_s` with what heartbeats tell; the live scheduler and the simulator ask the same function.

    view --> proposal --> guard: held long enough? cooled down? enough left? none in flight? --> flip to begin
             ^ policy                                            (policies.flip_guard)

    combined   strain: a role beyond its objective takes a worker from one at ease (xLLM, EPD); the last in the
               request's order comes first, for what waits before it may wait because of it; where none is at ease,
               balance decides
               balance: otherwise towards the counts that serve most of the recent mean request (P/D-Serve),
               if that is worth it, the giver is at ease, and the TTFT share does not say the opposite
    xllm       xLLM's thresholds, and the flips its routing wishes for            policies.role_flips
    epd        the longest queue takes from the stage with most workers           policies.role_switch
    share      the TTFT share against the one the plan predicts                   policies.role_ratio
    none       roles stay
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from penstock.core.errors import InvalidSettings
from penstock.core.policies import flip_guard, role_flips, role_ratio, role_switch
from penstock.core.policies.flip_guard import FlipLimits, FlipState
from penstock.core.policies.role_flips import FlipThresholds
from penstock.core.policies.role_ratio import MeanRequest
from penstock.core.pools import Flip, Pool, PooledWorker
from penstock.core.rate_balance import best_counts, served_rate
from penstock.core.role_pressure import ClusterView, pressures, queue_lengths
from penstock.core.timeline import Slo
from penstock.core.types import Role

# whoever is still on its way out of a role is the first choice to be taken back into it
_LEAVING = {Role.PREFILL: Pool.PREFILL_TO_DECODE, Role.DECODE: Pool.DECODE_TO_PREFILL}


@dataclass(frozen=True, slots=True)
class RoleRules:
    """How roles are controlled. `min_gain` is the share of served rate that a move for balance must bring."""

    policy: str = "none"  # or combined, xllm, epd, share
    interval_s: float = 1.0
    slo: Slo = field(default_factory=lambda: Slo(ttft_s=1.0, tpot_s=0.05))
    thresholds: FlipThresholds = field(default_factory=FlipThresholds)
    limits: FlipLimits = field(default_factory=lambda: FlipLimits(2.0, 2.0, 15.0))
    min_gain: float = 0.1
    encoder_switch_s: float = 0.7  # EPD: exchanging weights between encoder and language model takes less than that

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise InvalidSettings("roles.policy", self.policy, f"must be one of {', '.join(POLICIES)}")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A flip somebody would like, and why; `flip` None with a reason says why there is none."""

    flip: Flip | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RoleDecision:
    """`flip` is to be begun now. `state` is to be handed in again next time."""

    flip: Flip | None
    proposal: Proposal
    state: FlipState


def decide(view: ClusterView, wished: Flip | None, state: FlipState, now_s: float, rules: RoleRules) -> RoleDecision:
    """Ask once per interval. `wished` is the flip that routing asked for since the last time, if its order does so.

    When a flip has been carried out, hand in `flip_guard.finish(state)`.
    """
    proposal = POLICIES[rules.policy](view, wished, rules)
    flip, state = flip_guard.decide(proposal.flip, state, view.num_workers, now_s, rules.limits)
    return RoleDecision(flip, proposal, state)


# --- policies ---------------------------------------------------------------------------------------------------------


def _none(view: ClusterView, wished: Flip | None, rules: RoleRules) -> Proposal:
    return Proposal()


def _xllm(view: ClusterView, wished: Flip | None, rules: RoleRules) -> Proposal:
    if wished is not None:
        return Proposal(wished, "routing found no pair that keeps the objectives")
    pooled = view.pooled()
    now = role_flips.pressure(pooled, view.prefill_s, rules.slo)
    flip = role_flips.propose(pooled, now, rules.thresholds)
    reason = (
        f"TTFT at {now.ttft:.2f}, token interval at {now.interval:.2f} of the objectives, {now.free_share:.0%} free"
    )
    return Proposal(flip, reason)


def _epd(view: ClusterView, wished: Flip | None, rules: RoleRules) -> Proposal:
    queues = queue_lengths(view)
    flip = role_switch.propose(queues, view.num_workers)
    return Proposal(_with_worker(view, flip), "queues of " + _figures(queues))


def _share(view: ClusterView, wished: Flip | None, rules: RoleRules) -> Proposal:
    counts, short = view.num_workers, _short_by_share(view, rules)
    if short is None or not (counts.get(Role.PREFILL) and counts.get(Role.DECODE)):
        return Proposal(reason=f"TTFT share {view.demand.ttft_share:.2f}")
    giver = Role.DECODE if short is Role.PREFILL else Role.PREFILL
    return Proposal(
        _with_worker(view, Flip(giver, short)), f"TTFT share {view.demand.ttft_share:.2f}: {short} is short"
    )


def _combined(view: ClusterView, wished: Flip | None, rules: RoleRules) -> Proposal:
    now = pressures(view, rules.slo)
    if not now:
        return Proposal(reason="no worker has a role to change")
    strained = [role for role in now if now[role] > rules.thresholds.strain]
    if strained:
        shortest = strained[-1]
        at_ease = [role for role in now if role is not shortest and now[role] <= rules.thresholds.ease]
        spare = [role for role in at_ease if view.num_workers[role] > rules.limits.min_workers.get(role, 1)]
        if not spare:
            balance = _balance(view, now, rules, is_strained=True)
            return replace(balance, reason=f"strained, and none can give: {_figures(now)}; {balance.reason}")
        giver = min(spare, key=lambda role: now[role])
        return Proposal(_with_worker(view, Flip(giver, shortest)), f"{shortest} is strained: {_figures(now)}")
    return _balance(view, now, rules)


POLICIES: dict[str, Callable[[ClusterView, Flip | None, RoleRules], Proposal]] = {
    "none": _none,
    "combined": _combined,
    "xllm": _xllm,
    "epd": _epd,
    "share": _share,
}


# --- balance ----------------------------------------------------------------------------------------------------------


def _balance(view: ClusterView, now: Mapping[Role, float], rules: RoleRules, is_strained: bool = False) -> Proposal:
    """One step towards the counts that serve most of the mean request. When both are strained, whatever helps helps."""
    counts: dict[Role, int] = {role: count for role, count in view.num_workers.items() if role is not Role.ENCODER}
    if len(counts) < 2 or not view.demand.num_prompt_tokens or not view.demand.num_output_tokens:
        return Proposal()
    rates = worker_rates(view, rules.slo)
    wanted = best_counts(sum(counts.values()), rates)
    served = served_rate(counts, rates)
    gain = served_rate(wanted, rates) / served - 1
    target = f"{wanted[Role.PREFILL]} prefill and {wanted[Role.DECODE]} decode serve {gain:+.0%}"
    taker = next((role for role in counts if wanted[role] > counts[role]), None)
    if taker is None or gain < rules.min_gain:
        return Proposal(reason=target)
    giver = Role.DECODE if taker is Role.PREFILL else Role.PREFILL
    if now[giver] > rules.thresholds.ease and not is_strained:
        return Proposal(reason=f"{target}, but {giver} is busy: {_figures(now)}")
    if _short_by_share(view, rules) is giver and not is_strained:
        return Proposal(reason=f"{target}, but a TTFT share of {view.demand.ttft_share:.2f} says {giver} is short")
    return Proposal(_with_worker(view, Flip(giver, taker)), target)


def worker_rates(view: ClusterView, slo: Slo) -> dict[Role, float]:
    """Requests/s that one worker of each language role serves, of the recent mean request."""
    request = _mean_request(view)
    batch = _decode_batch(view, slo)
    return {
        Role.PREFILL: role_ratio.prefill_rate(request, view.cost),
        Role.DECODE: max(role_ratio.decode_rate(request, view.cost, batch), 1e-9),
    }


def _mean_request(view: ClusterView) -> MeanRequest:
    return MeanRequest(max(1, round(view.demand.num_prompt_tokens)), max(1, round(view.demand.num_output_tokens)))


def _decode_batch(view: ClusterView, slo: Slo) -> int:
    """The largest that keeps the objective on the smallest decode worker; one when there is none."""
    decodes = view.of(Role.DECODE)
    num_kv_tokens = min((worker.num_blocks * worker.block_size for worker in decodes), default=0)
    most = min((worker.max_num_sequences for worker in decodes), default=1)
    return max(1, min(most, role_ratio.decode_batch(_mean_request(view), view.cost, slo.tpot_s, num_kv_tokens)))


def _short_by_share(view: ClusterView, rules: RoleRules) -> Role | None:
    """The role that is short of workers by the share of TTFT in the end-to-end latency, against the planned one."""
    demand = view.demand
    if not (demand.ttft_share and demand.num_output_tokens and demand.num_prompt_tokens):
        return None
    request, batch = _mean_request(view), _decode_batch(view, rules.slo)
    decode_s = (request.num_output_tokens - 1) * view.cost.decode_s(batch, batch * request.num_context_tokens)
    target = view.prefill_s / (view.prefill_s + decode_s)
    return role_ratio.share_signal(demand.ttft_share, 1.0, target)


# --- which worker -----------------------------------------------------------------------------------------------------


def _with_worker(view: ClusterView, flip: Flip | None) -> Flip | None:
    """The flip with its worker: rather one still on its way out of the wanted role, else the lightest."""
    if flip is None:
        return None
    if flip.from_role is Role.ENCODER:
        encoders = view.of(Role.ENCODER)
        chosen = min(encoders, key=lambda worker: (worker.num_prefill_tokens, worker.ref.worker_id), default=None)
        return Flip(flip.from_role, flip.to_role, chosen.ref.worker_id) if chosen else None
    members = [worker for worker in view.pooled() if worker.state.role is flip.from_role]

    def weight(worker: PooledWorker) -> tuple[bool, float, int, str]:
        load = worker.queued_s if flip.from_role is Role.PREFILL else float(worker.state.num_context_tokens)
        return worker.pool is not _LEAVING.get(flip.to_role), load, worker.num_sequences, worker.worker_id

    lightest = min(members, key=weight, default=None)
    return Flip(flip.from_role, flip.to_role, lightest.worker_id) if lightest else None


def _figures(values: Mapping[Role, float]) -> str:
    return ", ".join(f"{role} {value:.2f}" for role, value in values.items())
