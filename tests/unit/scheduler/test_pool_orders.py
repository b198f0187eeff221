"""Orders carried out: by whoever starts workers, and by the workers themselves."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from penstock.core.errors import ChangeRefused, InternalError, WorkerLost
from penstock.core.policies.pool_changes import PoolChange
from penstock.core.types import Role, WorkerState
from penstock.runtime import rpc
from penstock.scheduler.pool_orders import PoolOrders
from penstock.scheduler.scaler import NoScaler, Scaler
from penstock.wire.control_messages import FlipRequest, FlipResponse
from tests.unit.virtual_time import let_run
from tests.unit.workers import make_worker


class FakeScaler:
    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []

    async def grow(self, role: Role, num_workers: int) -> None:
        self.done.append(("grow", role, num_workers))

    async def shrink(self, worker_ids: Sequence[str]) -> None:
        self.done.append(("shrink", *worker_ids))

    async def restart(self, worker_id: str) -> None:
        self.done.append(("restart", worker_id))


class FakeChannels:
    """A channel is its address; a method of it, too."""

    def get(self, address: str) -> Any:
        class Channel:
            def unary_unary(self, *_: object) -> str:
                return address

        return Channel()


class Group:
    """Members, and the orders for them."""

    def __init__(self, workers: list[WorkerState], scaler: Scaler | None = None) -> None:
        self.workers = workers
        self.scaler = FakeScaler()
        self.told: list[tuple[str, str, str]] = []
        channels: Any = FakeChannels()
        self.orders = PoolOrders(
            lambda: self.workers, scaler or self.scaler, channels, lambda *change: self.told.append(change)
        )

    def hear(self, index: int, **changes: object) -> None:
        """A heartbeat that changes the membership."""
        self.workers[index] = replace(self.workers[index], **changes)  # type: ignore[arg-type]
        self.orders.changed.set()

    def renew(self, index: int) -> None:
        """The worker has come back, in another life."""
        ref = self.workers[index].ref
        self.hear(index, ref=replace(ref, incarnation=ref.incarnation + 1), is_draining=False)


@pytest.fixture
def workers() -> list[WorkerState]:
    return [make_worker("prefill-0", num_running=2), make_worker("prefill-1"), make_worker("decode-0", Role.DECODE)]


@pytest.fixture
def group(workers: list[WorkerState]) -> Group:
    return Group(workers)


async def test_starts_and_ends_workers(group: Group) -> None:
    changes = await group.orders.scale([(Role.PREFILL, 1), (Role.DECODE, 3)])
    assert changes == [PoolChange(Role.PREFILL, 2, 1, ("prefill-1",)), PoolChange(Role.DECODE, 1, 3)]
    assert group.scaler.done == [("shrink", "prefill-1"), ("grow", Role.DECODE, 2)]


async def test_a_dry_run_a_refusal_and_what_is_so_already_do_nothing(group: Group) -> None:
    assert await group.orders.scale([(Role.DECODE, 3)], is_dry_run=True) == [PoolChange(Role.DECODE, 1, 3)]
    assert await group.orders.scale([(Role.DECODE, 1)]) == [PoolChange(Role.DECODE, 1, 1)]
    with pytest.raises(ChangeRefused, match="no worker for decode"):
        await group.orders.scale([(Role.PREFILL, 5), (Role.DECODE, 0)])
    assert group.scaler.done == []


async def test_what_was_begun_before_a_role_failed_is_told(workers: list[WorkerState]) -> None:
    class ShrinksOnly(FakeScaler):
        async def grow(self, role: Role, num_workers: int) -> None:
            raise ChangeRefused("No quota.")

    group, begun = Group(workers, ShrinksOnly()), list[PoolChange]()
    with pytest.raises(InternalError, match=r"decode: No quota\. Begun before that: prefill 2 to 1\."):
        await group.orders.scale([(Role.PREFILL, 1), (Role.DECODE, 3)], on_begun=begun.append)
    assert begun == [PoolChange(Role.PREFILL, 2, 1, ("prefill-1",))]
    with pytest.raises(ChangeRefused, match=r"^No quota\.$"):
        await group.orders.scale([(Role.DECODE, 3), (Role.PREFILL, 1)], on_begun=begun.append)
    assert len(begun) == 1


async def test_says_so_when_nobody_starts_workers_here(workers: list[WorkerState]) -> None:
    group = Group(workers, NoScaler())
    with pytest.raises(ChangeRefused, match="penstock up"):
        await group.orders.scale([(Role.PREFILL, 3)])


async def test_a_flip_is_asked_of_the_life_that_is_known(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, FlipRequest]] = []

    async def call(address: Any, request: FlipRequest, **_: object) -> FlipResponse:
        asked.append((address, request))
        if request.role is Role.MIXED:
            raise WorkerLost("No answer.")
        return FlipResponse(Role.PREFILL, 2)

    monkeypatch.setattr(rpc, "call", call)
    assert await group.orders.flip("prefill-0", Role.DECODE, is_dry_run=True) == FlipResponse(Role.PREFILL, 2)
    assert await group.orders.flip("prefill-0", Role.PREFILL) == FlipResponse(Role.PREFILL, 2)
    assert (asked, group.told) == ([], [])
    await group.orders.flip("prefill-0", Role.DECODE)
    ref = group.workers[0].ref
    assert asked == [(ref.address, FlipRequest(Role.DECODE, ref.incarnation))]
    with pytest.raises(WorkerLost):
        await group.orders.flip("decode-0", Role.MIXED)
    assert group.told == []  # whoever orders a flip tells of it, with the reason


async def test_a_rollout_replaces_one_worker_at_a_time(group: Group) -> None:
    assert group.orders.begin_rollout([Role.PREFILL]) == ["prefill-0", "prefill-1"]
    await let_run()
    assert group.scaler.done == [("restart", "prefill-0")]
    group.hear(0, is_draining=True)
    await let_run()
    with pytest.raises(ChangeRefused, match="under way"):
        group.orders.begin_rollout([])
    assert group.scaler.done == [("restart", "prefill-0")]  # it drains: the next one has to serve meanwhile
    group.renew(0)
    await let_run()
    assert group.scaler.done[1:] == [("restart", "prefill-1")]
    group.renew(1)
    await let_run()
    assert group.told == [("prefill-0", "replaced", "done"), ("prefill-1", "replaced", "done")]
    assert group.orders.begin_rollout([Role.DECODE], is_dry_run=True) == ["decode-0"]
    assert len(group.scaler.done) == 2


async def test_a_rollout_leaves_out_workers_that_are_to_go(group: Group) -> None:
    group.hear(1, is_draining=True)
    assert group.orders.begin_rollout([Role.PREFILL]) == ["prefill-0"]
    await group.orders.close()


async def test_during_a_rollout_other_orders_are_refused_at_once(group: Group) -> None:
    group.orders.begin_rollout([Role.PREFILL])
    await let_run()
    async with asyncio.timeout(1.0):
        with pytest.raises(ChangeRefused, match="under way"):
            await group.orders.scale([(Role.DECODE, 2)])
        with pytest.raises(ChangeRefused, match="under way"):
            await group.orders.flip("prefill-1", Role.DECODE)
        assert await group.orders.scale([(Role.DECODE, 2)], is_dry_run=True) == [PoolChange(Role.DECODE, 1, 2)]
        assert await group.orders.flip("prefill-1", Role.DECODE, is_dry_run=True) == FlipResponse(Role.PREFILL, 0)
    assert group.scaler.done == [("restart", "prefill-0")]
    await group.orders.close()


async def test_a_rollout_goes_no_further_than_a_worker_that_fails(workers: list[WorkerState]) -> None:
    group = Group(workers, NoScaler())
    group.orders.begin_rollout([])
    await let_run()
    [(subject, _, outcome)] = group.told
    assert subject == "prefill-0"
    assert "The rollout ends." in outcome


async def test_closing_ends_a_rollout(group: Group) -> None:
    group.orders.begin_rollout([])
    await let_run()
    await group.orders.close()
    group.renew(0)
    await let_run()
    assert len(group.scaler.done) == 1
