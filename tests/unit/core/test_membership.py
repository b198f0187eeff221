from penstock.core.membership import Heard, Membership
from penstock.core.types import Role
from tests.unit.workers import make_worker


def test_heartbeats_renew_the_lease_and_carry_the_load() -> None:
    members = Membership(lease_s=3.0)
    members.register(make_worker("a"), 10.0)
    assert members.heartbeat(make_worker("a", num_running=7), 12.0) is Heard.SAME
    assert (members.get("a").num_running, members.get("a").heartbeat_s) == (7, 12.0)
    assert members.expire(15.0) == []
    assert [ref.worker_id for ref in members.expire(15.1)] == ["a"]
    assert "a" not in members


def test_strangers_and_other_lives_are_unknown() -> None:
    members = Membership(lease_s=3.0)
    assert members.heartbeat(make_worker("a"), 10.0) is Heard.UNKNOWN
    members.register(make_worker("a", incarnation=1), 10.0)
    assert members.heartbeat(make_worker("a", incarnation=2), 10.1) is Heard.UNKNOWN
    members.register(make_worker("a", incarnation=2), 10.2)
    assert members.heartbeat(make_worker("a", incarnation=1), 10.3) is Heard.UNKNOWN  # a ghost of the first life
    assert len(members) == 1


def test_a_change_of_standing_is_told_from_a_change_of_load() -> None:
    members = Membership(lease_s=3.0)
    members.register(make_worker("a"), 10.0)
    assert members.heartbeat(make_worker("a", num_free_blocks=1), 10.1) is Heard.SAME
    assert members.heartbeat(make_worker("a", is_draining=True), 10.2) is Heard.CHANGED
    assert members.heartbeat(make_worker("a", Role.DECODE, is_draining=True), 10.3) is Heard.CHANGED
