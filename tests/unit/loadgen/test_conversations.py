"""Conversations from a table of lengths."""

from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from random import Random

from penstock.simulator.workload import RequestSpec
from penstock_loadgen.conversations import ConversationsSpec, conversations, recover
from penstock_loadgen.lengths import LengthSpec
from penstock_loadgen.sessions import TrafficClass
from penstock_loadgen.workload import WorkloadSpec, generate

ROWS = [(10, 90), (120, 30), (155, 5), (20, 10), (5, 5), (9, 9)]


def test_a_row_that_can_hold_the_one_before_it_continues_it() -> None:
    assert list(recover(ROWS)) == [[(10, 90), (120, 30), (155, 5)], [(20, 10)], [(5, 5)], [(9, 9)]]


def test_turns_come_in_order_and_share_what_was_said(tmp_path: Path) -> None:
    path = tmp_path / "lengths.csv"
    path.write_text("num_prefill_tokens,num_decode_tokens\n" + "\n".join(f"{p},{d}" for p, d in ROWS), "utf8")
    turns = list(conversations(ConversationsSpec(str(path), num_sessions=50, rate=2.0, think_s=30.0), Random(0)))
    assert [turn.arrived_s for turn in turns] == sorted(turn.arrived_s for turn in turns)
    by_session: dict[int, list[RequestSpec]] = defaultdict(list)
    for turn in turns:
        assert len(turn.prefix_ids) == -(-turn.num_prompt_tokens // 16)
        by_session[turn.prefix_ids[0]].append(turn)
    assert len(by_session) == 50
    for conversation in by_session.values():
        for earlier, later in pairwise(conversation):
            assert later.prefix_ids[: len(earlier.prefix_ids)] == earlier.prefix_ids


def test_classes_have_their_shares_lengths_and_deadlines() -> None:
    text = TrafficClass("text", 3, LengthSpec("fixed", 100, 1), first_token_deadline_s=0.25)
    file = TrafficClass("file", 1, LengthSpec("fixed", 9000, 1), first_token_deadline_s=6.0, priority=2)
    drawn = list(generate(WorkloadSpec(num_requests=2000, classes=(text, file))))
    files = [request for request in drawn if request.num_prompt_tokens == 9000]
    assert 0.22 <= len(files) / len(drawn) <= 0.28
    assert {(request.first_token_deadline_s, request.priority) for request in files} == {(6.0, 2)}
