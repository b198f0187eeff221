"""A workload on the simulator: sessions that wait for answers, closed loops, and the report of a live endpoint."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from penstock.core.errors import InvalidSettings
from penstock.core.policies.flip_guard import FlipLimits
from penstock.core.role_controller import RoleRules
from penstock.core.timeline import Slo
from penstock.core.types import Role
from penstock.simulator.scenario import Failure, PoolSpec, Scenario
from penstock_loadgen.arrivals import ArrivalSpec
from penstock_loadgen.exchange import CANCELLED, OK
from penstock_loadgen.experiment import Trial
from penstock_loadgen.lengths import LengthSpec
from penstock_loadgen.record import RequestRecord
from penstock_loadgen.sessions import CancelSpec, ImageSpec, TrafficClass, TurnSpec
from penstock_loadgen.targets import Outcome, SimulatedTarget
from penstock_loadgen.workload import WorkloadSpec
from tests.unit.loadgen.records import most_at_once

SCENARIO = Scenario(pools=(PoolSpec(Role.MIXED, 1),), slo=Slo(ttft_s=1.0))
CHAT = TrafficClass("chat", lengths=LengthSpec("fixed", 320, 40), turns=TurnSpec(3, 3, think_mean_s=0.5))
WORKLOAD = WorkloadSpec(20, 3, ArrivalSpec(rate=4.0), classes=(CHAT,))


def run(workload: WorkloadSpec, scenario: Scenario = SCENARIO) -> Outcome:
    return SimulatedTarget(scenario).run(workload, lambda now_s, reading: None)


def turns_of(records: Sequence[RequestRecord], session: int) -> list[RequestRecord]:
    return [record for record in records if record.session == session]


def test_a_turn_waits_for_the_answer_before_it_and_carries_what_was_said() -> None:
    records = run(WORKLOAD).records
    assert len(records) == 60
    for session in range(20):
        first, second, third = turns_of(records, session)
        assert first.ended_s < second.sent_s < second.ended_s < third.sent_s
        assert [one.num_prompt_tokens for one in (first, second, third)] == [320, 680, 1040]


def test_a_second_turn_finds_the_first_ones_blocks() -> None:
    alone = replace(WORKLOAD, num_requests=1)
    first, second, _ = run(alone).records
    assert first.ttft_s is not None and second.ttft_s is not None
    unshared = TrafficClass(lengths=LengthSpec("fixed", 680, 40))
    (cold,) = run(replace(alone, classes=(unshared,))).records
    assert cold.ttft_s is not None
    assert second.ttft_s < cold.ttft_s


def test_a_closed_loop_keeps_so_many_sessions_under_way() -> None:
    closed = replace(
        WORKLOAD, arrivals=ArrivalSpec("closed", concurrency=3), classes=(replace(CHAT, turns=TurnSpec()),)
    )
    records = run(closed).records
    assert len(records) == 20
    assert most_at_once(records) == 3


def test_what_the_client_gives_up_on_ends_early_and_is_not_judged() -> None:
    hasty = replace(CHAT, turns=TurnSpec(), cancel=CancelSpec(1.0, after_tokens=7))
    trial = Trial.of(WORKLOAD, run(replace(WORKLOAD, classes=(hasty,))))
    assert trial.repeat.summary.num_cancelled == 20
    assert {record.num_output_tokens for record in trial.outcome.records} == {7}


def test_the_same_seed_gives_the_same_report_and_another_another() -> None:
    first, again, other = (Trial.of(spec, run(spec)).repeat for spec in (WORKLOAD, WORKLOAD, WORKLOAD.repeat(1)))
    assert first == again
    assert first.summary != other.summary


def test_deaths_and_pool_sizes_are_in_the_history() -> None:
    scenario = Scenario(
        pools=(PoolSpec(Role.PREFILL, 1), PoolSpec(Role.DECODE, 2)), failures=(Failure("decode-1", 2.0, 3.0),)
    )
    history = run(WORKLOAD, scenario).history
    assert [(event.time_s, event.what) for event in history.events] == [
        (2.0, "decode-1 is gone"),
        (5.0, "decode-1 came"),
    ]
    assert {point.num_workers for point in history.pools["decode"]} == {1, 2}


def test_the_simulated_client_is_never_late() -> None:
    outcome = run(WORKLOAD)
    assert outcome.validity.is_valid
    assert outcome.validity.lateness_p99_s == pytest.approx(0.0)


def test_changes_of_roles_are_in_the_history() -> None:
    scenario = Scenario(
        pools=(PoolSpec(Role.PREFILL, 1), PoolSpec(Role.DECODE, 3)),
        slo=Slo(ttft_s=0.3, tpot_s=0.05),
        roles=RoleRules("epd", limits=FlipLimits(hold_s=0.0, cool_down_s=0.0, reverse_cool_down_s=0.0)),
    )
    reading = TrafficClass(lengths=LengthSpec("fixed", 2000, 8))
    history = run(WorkloadSpec(100, 3, ArrivalSpec(rate=90.0), classes=(reading,)), scenario).history
    assert "decode-0 flipped: decode to prefill" in [event.what for event in history.events]


@pytest.mark.parametrize(("after_tokens", "num_turns"), [(7, 1), (40, 3), (41, 3)])
def test_a_session_ends_only_with_an_answer_that_was_cut_short(after_tokens: int, num_turns: int) -> None:
    hasty = replace(CHAT, cancel=CancelSpec(1.0, after_tokens=after_tokens))
    records = run(replace(WORKLOAD, num_requests=2, classes=(hasty,))).records
    assert len(records) == 2 * num_turns
    assert {record.kind for record in records} == {CANCELLED if num_turns == 1 else OK}


def test_images_of_a_class_are_refused() -> None:
    with pytest.raises(InvalidSettings, match=r"classes\.chat\.images"):
        run(replace(WORKLOAD, classes=(replace(CHAT, images=ImageSpec(1)),)))
