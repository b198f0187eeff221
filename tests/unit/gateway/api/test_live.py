"""The live feed: what it says, to how many, and when it ends."""

import asyncio
from typing import Any

import orjson
import pytest

from penstock.core.errors import WorkerLost
from penstock.core.timeline import Slo
from penstock.core.types import FinishReason, Role
from penstock.gateway.api import live
from penstock.gateway.api.app import App
from penstock.gateway.api.pulse import NUM_POINTS, Pulse
from tests.gateway_fakes import Client, FakeDispatcher, chat, make_service, worker
from tests.seeing_gateway import seeing_service
from tests.unit.fake_clock import FakeClock
from tests.unit.virtual_time import let_run


class Watched:
    """A gateway on which time passes second by second."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        workers = [worker("p0", Role.PREFILL), worker("p1", Role.PREFILL), worker("d0", Role.DECODE)]
        self.dispatcher = FakeDispatcher(workers=[*workers, worker("d1", Role.DECODE, is_draining=True)])
        self.is_stopping = False
        self.service = make_service(
            self.dispatcher,
            now_s=self.clock,
            is_stopping=lambda: self.is_stopping,
            objectives=Slo(0.5, 0.05),
        )
        self.client = Client(self.service)
        self.app: App = self.client._app

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.now += 1.0
            self.app.feed.beat()

    @property
    def pulse(self) -> Pulse:
        return self.app.feed._pulse


async def test_rates_outcomes_and_percentiles_are_those_of_the_window() -> None:
    watched = Watched()
    for _ in range(20):
        assert (await watched.client.post("/v1/chat/completions", chat())).status == 200
    watched.dispatcher.error = WorkerLost("Gone.")
    assert (await watched.client.post("/v1/chat/completions", chat())).status == 503
    watched.service.metrics.time_to_first_token_s.observe(0.3)
    watched.pass_time(10)
    state = watched.pulse.state()
    assert state["outcomes"] == {"answered": 20.0, "failed": 1.0} == state["totals"]
    assert state["requests_per_s"] == 2.1
    assert state["tokens_per_s"] > 0
    assert state["ttft_s"]["p99"] > 0.0
    assert state["objectives"] == {"ttft_s": 0.5, "tpot_s": 0.05}
    watched.pass_time(61)
    state = watched.pulse.state()
    assert state["outcomes"] == {"answered": 0.0, "failed": 0.0}
    assert (state["requests_per_s"], state["ttft_s"]["p50"]) == (0.0, None)
    assert state["totals"]["answered"] == 20.0


async def test_sequences_are_counted_where_they_are() -> None:
    watched = Watched()
    watched.dispatcher.is_manual = True
    asking = [asyncio.create_task(watched.client.post("/v1/chat/completions", chat())) for _ in range(4)]
    while len(watched.dispatcher.generations) < 4:
        await asyncio.sleep(0)
    watched.dispatcher.num_waiting = 1
    for generation, num_tokens in zip(watched.dispatcher.generations, (0, 0, 1, 2), strict=True):
        for position in range(num_tokens):
            watched.dispatcher.deliver(generation, position)
    await let_run()
    assert watched.pulse.state()["stages"] == {"waiting": 1, "prefill": 1, "transfer": 1, "decode": 1}
    for generation in watched.dispatcher.generations:
        generation.fail(WorkerLost("Gone."))
    await asyncio.gather(*asking)
    watched.dispatcher.num_waiting = 0
    assert sum(watched.pulse.state()["stages"].values()) == 0


async def test_a_sequence_that_has_ended_is_under_way_no_more() -> None:
    watched = Watched()
    watched.dispatcher.is_manual = True
    asking = asyncio.create_task(watched.client.post("/v1/chat/completions", chat(n=2)))
    while len(watched.dispatcher.generations) < 2:
        await asyncio.sleep(0)
    for generation in watched.dispatcher.generations:
        watched.dispatcher.deliver(generation, 0)
    watched.dispatcher.generations[0].finish(FinishReason.LENGTH)
    await let_run()
    assert watched.pulse.state()["stages"] == {"waiting": 0, "prefill": 0, "transfer": 1, "decode": 0}
    watched.dispatcher.generations[1].finish(FinishReason.LENGTH)
    await asking


def test_points_say_who_served_which_role_and_are_bounded() -> None:
    watched = Watched()
    watched.pass_time(NUM_POINTS + 50)
    history = watched.pulse.history()
    assert len(history["points"]) == NUM_POINTS
    oldest, newest = history["points"][0], history["points"][-1]
    point = dict(zip(history["columns"], newest, strict=True))
    assert (point["prefill"], point["decode"], point["mixed"], point["age_s"]) == (2, 1, 0, 0.0)  # one decode drains
    assert oldest[0] == NUM_POINTS - 1


async def _read(watched: Watched, num_beats: int) -> list[tuple[str, Any]]:
    reading = asyncio.create_task(watched.client.get(live.PATH))
    await let_run()
    for _ in range(num_beats):
        watched.pass_time(1)
        await let_run()
    watched.is_stopping = True
    watched.pass_time(1)
    body = (await reading).body.decode()
    events = [piece.split("\ndata: ") for piece in body.split("\n\n") if piece]
    return [(name.removeprefix("event: "), orjson.loads(data)) for name, data in events]


async def test_the_feed_is_the_history_then_a_state_a_second_until_the_gateway_stops() -> None:
    watched = Watched()
    watched.pass_time(3)
    events = await _read(watched, num_beats=2)
    assert [name for name, _ in events] == ["history", "state", "state", "state"]
    assert len(events[0][1]["points"]) == 3
    state = events[-1][1]
    assert state["gateway"]["id"] == "gateway-0"
    assert [member["worker_id"] for member in state["groups"][0]["workers"]] == ["p0", "p1", "d0", "d1"]
    assert state["pulse"]["point"][1] == 2
    assert watched.app.feed.num_viewers == 0


async def test_a_viewer_that_leaves_is_forgotten() -> None:
    watched = Watched()
    reading = asyncio.create_task(watched.client.get(live.PATH))
    await let_run()
    assert watched.app.feed.num_viewers == 1
    watched.client.left.set()
    with pytest.raises(AssertionError, match="the answer is complete"):  # nobody is there to be told of its end
        await reading
    assert watched.app.feed.num_viewers == 0


async def test_one_viewer_too_many_is_told_to_come_later() -> None:
    watched = Watched()
    watched.app.feed.num_viewers = live.MAX_NUM_VIEWERS
    answer = await watched.client.get(live.PATH)
    assert (answer.status, answer.headers["retry-after"]) == (429, "5")


async def test_the_feed_wants_a_key_and_the_page_does_not() -> None:
    client = Client(make_service(FakeDispatcher(), api_keys=["secret"]))
    assert (await client.get(live.PATH)).status == 401
    assert (await client.get("/")).status == 200


def test_requests_whose_images_are_being_encoded_are_a_stage_where_the_model_sees() -> None:
    stages = Pulse(seeing_service(FakeDispatcher(num_encoding=2))).state()["stages"]
    assert stages == {"waiting": 0, "encode": 2, "prefill": 0, "transfer": 0, "decode": 0}
