"""The sessions of a workload, and what the simulator is told of them."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from penstock.core.errors import InvalidSettings
from penstock.core.timeline import Slo
from penstock.simulator.parsing import parse
from penstock.simulator.workload import block_hashes
from penstock_loadgen.arrivals import ArrivalSpec
from penstock_loadgen.lengths import LengthSpec
from penstock_loadgen.sessions import CancelSpec, ImageSpec, Session, TrafficClass, Turn, TurnSpec
from penstock_loadgen.simulated_prompts import request_spec
from penstock_loadgen.traces import TraceSpec
from penstock_loadgen.workload import WorkloadSpec, generate, sessions

FIXED = LengthSpec("fixed", 100, 20)
CHAT = TrafficClass("chat", 3.0, FIXED, turns=TurnSpec(2, 4, think_mean_s=1.0), system_prompt_tokens=64)
CODE = TrafficClass("code", 1.0, FIXED, priority=2)


def workload(**changes: Any) -> WorkloadSpec:
    values: dict[str, Any] = {"num_requests": 400, "arrivals": ArrivalSpec(rate=10.0), "classes": (CHAT, CODE)}
    return WorkloadSpec(**{**values, **changes})


def test_classes_mix_by_share_and_sessions_have_turns_with_think_times() -> None:
    drawn = list(sessions(workload(num_requests=4000)))
    counts = Counter(session.traffic_class.name for session in drawn)
    assert counts["chat"] / counts["code"] == pytest.approx(3, rel=0.15)
    chats = [session for session in drawn if session.traffic_class is CHAT]
    assert {len(session.turns) for session in chats} == {2, 3, 4}
    assert all(session.turns[0].think_s == 0 for session in drawn)
    thinks = [turn.think_s for session in chats for turn in session.turns[1:]]
    assert sum(thinks) / len(thinks) == pytest.approx(1.0, rel=0.1)


def test_a_share_of_requests_is_given_up_on() -> None:
    one = TrafficClass(lengths=FIXED, cancel=CancelSpec(0.25, after_tokens=5))
    drawn = [session.turns[0] for session in sessions(workload(classes=(one,), num_requests=4000))]
    given_up = [turn for turn in drawn if turn.cancel_after_tokens]
    assert len(given_up) / len(drawn) == pytest.approx(0.25, rel=0.1)
    assert {turn.num_read_tokens for turn in given_up} == {5}


def test_a_run_is_bounded_by_its_duration() -> None:
    drawn = list(sessions(workload(num_requests=0, duration_s=7.0)))
    assert len(drawn) == pytest.approx(70, abs=30)
    assert max(session.due_s for session in drawn) < 7.0


def test_repeats_differ_and_the_first_is_the_experiment_itself() -> None:
    spec = workload(seed=5)
    assert list(sessions(spec.repeat(0))) == list(sessions(spec))
    assert list(sessions(spec.repeat(1))) != list(sessions(spec))


def test_a_higher_rate_asks_the_same_questions_sooner() -> None:
    slow, fast = list(sessions(workload())), list(sessions(workload().at_rate(20.0)))
    assert [session.turns for session in slow] == [session.turns for session in fast]
    assert fast[-1].due_s == pytest.approx(slow[-1].due_s / 2)


def test_a_trace_at_another_rate_is_played_at_another_speed(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,5,1\n2023-11-16 18:17:07,5,1\n")
    spec = workload(num_requests=0, classes=(), trace=TraceSpec("azure", str(path)))
    assert [session.due_s for session in sessions(spec.at_rate(2.0))] == [0.0, 2.0]


def test_a_class_has_the_workloads_objectives_unless_it_has_its_own() -> None:
    strict = TrafficClass("strict", slo=Slo(ttft_s=0.1))
    spec = workload(classes=(strict, CODE), slo=Slo(ttft_s=2.0))
    assert (spec.slo_of(strict).ttft_s, spec.slo_of(CODE).ttft_s) == (0.1, 2.0)


def hashes(session: Session, turn: int) -> list[bytes]:
    return list(block_hashes(request_spec(session, turn, 0.0, float("inf"))))


def test_a_later_turn_begins_with_all_that_was_said_and_a_class_shares_its_system_prompt() -> None:
    drawn = list(sessions(workload()))
    first, other = [session for session in drawn if session.traffic_class is CHAT][:2]
    one, two = hashes(first, 0), hashes(first, 1)
    assert request_spec(first, 1, 0.0, 1.0).num_prompt_tokens == 64 + 100 + 20 + 100
    assert len(one) == (64 + 100) // 16
    assert two[: len(one)] == one
    theirs = hashes(other, 0)
    assert theirs[:4] == one[:4]  # 64 tokens of system prompt
    assert not set(theirs[4:]) & set(one)
    code = next(session for session in drawn if session.traffic_class is CODE)
    assert not hashes(code, 0)
    assert request_spec(code, 0, 0.0, 1.0).priority == 2


def test_only_open_loops_of_single_turns_can_be_listed() -> None:
    with pytest.raises(InvalidSettings, match="played"):
        generate(workload())
    with pytest.raises(InvalidSettings, match="played"):
        generate(workload(classes=(CODE,), arrivals=ArrivalSpec("closed", concurrency=2)))
    assert len(list(generate(workload(classes=(CODE,))))) == 400


def test_everything_about_traffic_can_be_written_in_yaml() -> None:
    raw = {
        "num_requests": 10,
        "arrivals": {"kind": "closed", "concurrency": 3},
        "classes": [
            {
                "name": "vision",
                "images": {"count": 2, "width": 64, "height": 32},
                "headers": {"x-team": "blue"},
                "body": {"top_k": 5},
                "slo": {"ttft_s": 0.5},
            }
        ],
    }
    spec = parse(WorkloadSpec, raw, "workload")
    assert spec.classes[0].images.count == 2
    assert spec.classes[0].body == {"top_k": 5}
    with pytest.raises(InvalidSettings, match=r"classes\.0\.headers"):
        parse(WorkloadSpec, {"classes": [{"headers": "x-team: blue"}]}, "workload")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"num_requests": 0}, "num_requests"),
        ({"warm_up_s": 5.0, "duration_s": 5.0}, "warm_up_s"),
        ({"trace": TraceSpec("azure", "x"), "classes": (CHAT,)}, "classes"),
        ({"trace": TraceSpec("azure", "x"), "arrivals": ArrivalSpec("closed")}, "arrivals"),
        (
            {"trace": TraceSpec("mooncake", "x"), "classes": (TrafficClass(system_prompt="hello"),)},
            "system_prompt",
        ),
    ],
)
def test_what_could_not_be_honoured_is_refused(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(InvalidSettings, match=key):
        workload(**changes)


def test_a_closed_loop_has_no_rate_to_search_over() -> None:
    with pytest.raises(InvalidSettings, match="closed"):
        workload(arrivals=ArrivalSpec("closed")).at_rate(2.0)


def test_images_of_a_class_are_refused_where_their_cost_is_not_known() -> None:
    with pytest.raises(InvalidSettings, match=r"workload\.classes\.vision\.images"):
        generate(workload(classes=(TrafficClass("vision", images=ImageSpec(1)),)))


@pytest.mark.parametrize(("after_tokens", "is_given_up"), [(0, False), (4, True), (5, False), (6, False)])
def test_an_answer_is_given_up_on_only_before_its_last_token(after_tokens: int, is_given_up: bool) -> None:
    turn = Turn(10, 5, cancel_after_tokens=after_tokens)
    assert (turn.is_given_up, turn.num_read_tokens) == (is_given_up, min(after_tokens or 5, 5))
