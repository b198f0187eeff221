"""Being a member: register, beat, and begin anew when the router is gone or knows nothing of us."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
import pytest

from penstock.core.blocks import BlockPool, hash_blocks
from penstock.core.policies.admission import AdmissionLimits
from penstock.core.sequences import SequenceBook
from penstock.core.types import Role, WorkerRef, WorkerState
from penstock.wire import stubs
from penstock.wire.messages import HeartbeatRequest, HeartbeatResponse, RegisterRequest, RegisterResponse
from penstock.worker.registration import MAX_FAILURES, RETRY_INTERVAL_S, Registration
from tests.unit.virtual_time import in_virtual_time, pass_time, settle

INTERVAL_S = 0.25
STATE = WorkerState(WorkerRef("prefill-0", 11, "prefill-0:1"), Role.PREFILL)
GONE = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "gone", None)


class ControlPlane:
    """Scheduler and router; what they say next is set by the test."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.num_registrations = 0
        self.beats: list[HeartbeatRequest] = []
        self.is_scheduler_up = self.is_router_up = self.is_known = True
        patch.setattr(stubs, "membership_register", lambda _: self._register)
        patch.setattr(stubs, "router_heartbeat", lambda _: self._heartbeat)
        self.book = SequenceBook(BlockPool(8, 16), AdmissionLimits(), lambda: 0.0)
        channels: Any = self
        self.registration = Registration("scheduler:1", channels, lambda: STATE, self.book.pool)

    def get(self, address: str) -> str:
        return address

    async def _register(self, request: RegisterRequest, **_: object) -> RegisterResponse:
        if not self.is_scheduler_up:
            raise GONE
        assert request.state is STATE
        self.num_registrations += 1
        return RegisterResponse("router:1", INTERVAL_S)

    async def _heartbeat(self, request: HeartbeatRequest, **_: object) -> HeartbeatResponse:
        self.beats.append(request)
        if not self.is_router_up:
            raise GONE
        return HeartbeatResponse(self.is_known)

    def store(self, num_blocks: int, first: int = 0) -> list[bytes]:
        hashes = hash_blocks(range(first, first + 16 * num_blocks))
        block_ids = self.book.pool.allocate(num_blocks)
        assert block_ids is not None
        for block_id, block_hash in zip(block_ids, hashes, strict=True):
            self.book.pool.enter(block_id, block_hash)
        self.book.pool.release(block_ids)
        return hashes


def registered(test: Callable[[ControlPlane], Awaitable[None]]) -> Callable[[pytest.MonkeyPatch], None]:
    @in_virtual_time
    async def run(monkeypatch: pytest.MonkeyPatch) -> None:
        plane = ControlPlane(monkeypatch)
        running = asyncio.create_task(plane.registration.run())
        try:
            await test(plane)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    return run


@registered
async def test_begins_with_the_whole_cache_and_then_tells_only_changes(plane: ControlPlane) -> None:
    first = plane.store(2)
    await settle()
    second = plane.store(1, first=1000)
    await pass_time(INTERVAL_S)
    await pass_time(INTERVAL_S)
    told = [(set(beat.stored_hashes), set(beat.evicted_hashes), beat.is_full) for beat in plane.beats]
    assert told == [(set(first), set(), True), (set(second), set(), False), (set(), set(), False)]


@registered
async def test_announces_a_change_of_state_at_once(plane: ControlPlane) -> None:
    await settle()
    plane.registration.announce()
    await settle()
    assert len(plane.beats) == 2


@registered
async def test_after_a_lost_heartbeat_the_whole_cache_is_told_again(plane: ControlPlane) -> None:
    await settle()
    plane.is_router_up = False
    known = plane.store(2)
    await pass_time(INTERVAL_S)
    plane.is_router_up = True
    await pass_time(RETRY_INTERVAL_S)
    assert set(plane.beats[-2].stored_hashes) == set(plane.beats[-1].stored_hashes) == set(known)
    assert plane.beats[-1].is_full
    assert plane.num_registrations == 1


@registered
async def test_a_silent_router_sends_us_back_to_the_scheduler(plane: ControlPlane) -> None:
    plane.is_router_up = False
    await pass_time(MAX_FAILURES * RETRY_INTERVAL_S + 0.1)
    assert plane.num_registrations == 2
    plane.is_router_up = True
    await pass_time(RETRY_INTERVAL_S)
    assert plane.beats[-1].is_full


@registered
async def test_a_router_that_forgot_us_is_registered_with_again(plane: ControlPlane) -> None:
    await settle()
    plane.is_known = False
    await pass_time(INTERVAL_S + 0.01)
    plane.is_known = True
    await pass_time(2 * RETRY_INTERVAL_S)
    assert plane.num_registrations > 1
    assert any(beat.is_full for beat in plane.beats[2:])


@registered
async def test_a_router_that_never_knows_us_is_not_asked_without_pause(plane: ControlPlane) -> None:
    plane.is_known = False
    await pass_time(10 * RETRY_INTERVAL_S)
    assert 5 < plane.num_registrations < 15


@registered
async def test_waits_for_a_scheduler_that_is_not_there(plane: ControlPlane) -> None:
    plane.is_scheduler_up = False
    await pass_time(10 * RETRY_INTERVAL_S)
    assert plane.beats == []
    plane.is_scheduler_up = True
    await pass_time(RETRY_INTERVAL_S)
    assert plane.beats
