"""What `penstock scale` says, and when it is done."""

import json
from typing import Any

import httpx
import pytest

from penstock.cli.gateway_client import connect
from penstock.cli.scale import missing, sentence, until_done
from penstock.core.policies.pool_changes import PoolChange
from penstock.core.types import Role


@pytest.mark.parametrize(
    ("change", "is_dry_run", "says"),
    [
        (PoolChange(Role.PREFILL, 1, 3), False, "prefill: 1 to 3 workers; 2 are being started"),
        (PoolChange(Role.PREFILL, 1, 3), True, "prefill: 1 to 3 workers; 2 would be started"),
        (PoolChange(Role.DECODE, 2, 1, ("d0",)), False, "decode: 2 to 1 workers; d0 drain and go"),
        (PoolChange(Role.DECODE, 2, 0, ("d0", "d1")), True, "decode: 2 to 0 workers; d0, d1 would drain and go"),
        (PoolChange(Role.DECODE, 2, 2), False, "decode: 2 workers already"),
        (PoolChange(Role.ENCODER, 0, 2), False, "encoder: 0 to 2 workers; 2 are being started"),
    ],
)
def test_a_change_in_words(change: PoolChange, is_dry_run: bool, says: str) -> None:
    assert sentence(change, is_dry_run=is_dry_run) == says


def cluster(*workers: tuple[str, bool]) -> dict[str, Any]:
    members = [{"role": role, "is_draining": is_draining} for role, is_draining in workers]
    return {"groups": [{"name": "g", "workers": members}]}


def test_is_done_when_the_counts_are_right_and_nobody_drains() -> None:
    targets = [(Role.PREFILL, 1), (Role.DECODE, 1)]
    assert missing(cluster(("prefill", False)), "g", targets) == ["decode 0/1"]
    both = [("prefill", False), ("decode", False)]
    assert missing(cluster(*both, ("decode", True)), "g", targets) == ["decode 1/1, 1 draining"]
    assert missing(cluster(*both), "g", targets) == []
    assert missing(cluster(*both), "g", [(Role.ENCODER, 2)]) == ["encoder 0/2"]
    assert missing(cluster(("encoder", False), ("encoder", False)), "g", [(Role.ENCODER, 2)]) == []


@pytest.mark.parametrize(("num_states", "is_done", "says"), [(3, True, ["done"]), (2, False, [])])
def test_waits_by_the_feed_until_done_or_until_it_ends(
    capsys: pytest.CaptureFixture[str], num_states: int, is_done: bool, says: list[str]
) -> None:
    both = [("prefill", False), ("prefill", False)]
    seen = [cluster(), cluster(*both, ("prefill", True)), cluster(*both)][:num_states]
    body = "".join(f"event: state\ndata: {json.dumps({**state, 'pulse': {'point': None}})}\n\n" for state in seen)
    with connect("http://gateway", transport=httpx.MockTransport(lambda _: httpx.Response(200, text=body))) as client:
        assert until_done(client, "g", [(Role.PREFILL, 2)]) is is_done
    waiting = ["  waiting: prefill 0/2", "  waiting: prefill 2/2, 1 draining"]
    assert capsys.readouterr().out.splitlines() == [*waiting, *says]
