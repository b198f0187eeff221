"""Images of accepted requests are brought to workers that encode them, whatever becomes of those."""

from typing import Any

import pytest

from penstock.core.errors import InternalError, NoWorkers, QueueFull, UnknownReservation, UnreadableImage
from penstock.core.images import ImageSpan
from penstock.core.types import Request, Role
from penstock.gateway.dispatcher import RoutedDispatcher
from penstock.wire import messages as m
from tests.unit.gateway.dispatcher.fake_cluster import FakeCluster
from tests.unit.gateway.dispatcher.fake_worker import FakeWorker
from tests.unit.gateway.dispatcher.requests import expected_tokens, make_request, read
from tests.unit.gateway.dispatcher.virtual_time import pass_time, until

FILES = (b"red", b"blue")
IMAGES = tuple(ImageSpan(start, 8, file.ljust(16), (1, 4, 8)) for start, file in zip((4, 20), FILES, strict=True))


def with_images(name: str = "r0", **fields: Any) -> Request:
    return make_request(name, images=IMAGES, **fields)


def indices(worker: FakeWorker) -> list[int]:
    return [start.index for start in worker.images.starts]


@pytest.fixture
def seeing(cluster: FakeCluster) -> FakeCluster:
    """Two workers that encode what they prefill, one that decodes."""
    for index in range(2):
        cluster.add(f"prefill-{index}", encodes_images=True)
    cluster.add("decode-0", Role.DECODE)
    return cluster


@pytest.fixture
def apart(cluster: FakeCluster) -> FakeCluster:
    """Two encoders, two workers that prefill, one that decodes."""
    for index in range(2):
        cluster.add(f"encoder-{index}", Role.ENCODER, encodes_images=True)
        cluster.add(f"prefill-{index}")
    cluster.add("decode-0", Role.DECODE)
    return cluster


def test_images_go_to_the_worker_that_accepted_when_it_encodes(seeing: FakeCluster) -> None:
    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = with_images()
        generation = dispatcher.generate(request, FILES)
        assert await read(generation) == expected_tokens(request)
        first, second = seeing.workers["prefill-0"], seeing.workers["prefill-1"]
        assert [(start.index, start.file, start.image) for start in first.images.starts] == [
            (0, b"red", IMAGES[0]),
            (1, b"blue", IMAGES[1]),
        ]
        assert {start.destination for start in first.images.starts} == {first.ref}
        assert {start.handle for start in first.images.starts} == {first.offers[0].request.handle}
        assert second.images.streams == []
        encodes = [span for span in generation.timeline.spans if span.stage == "encode"]
        assert [span.where for span in encodes] == ["prefill-0"] * 2
        assert [span.duration_s for span in encodes] == pytest.approx([0.020] * 2)
        assert first.images.cancelled == []

    seeing.run(scenario)


def test_a_request_without_images_opens_no_stream_to_an_encoder(seeing: FakeCluster) -> None:
    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = make_request()
        assert await read(dispatcher.generate(request)) == expected_tokens(request)
        assert seeing.workers["prefill-0"].images.streams == []

    seeing.run(scenario)


def test_each_image_goes_to_the_encoder_that_the_route_names(apart: FakeCluster) -> None:
    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = with_images()
        assert await read(dispatcher.generate(request, FILES)) == expected_tokens(request)
        assert list(apart.queries[-1].image_patches) == [32, 32]
        assert [indices(apart.workers[f"encoder-{index}"]) for index in range(2)] == [[0], [1]]

    apart.run(scenario)


def test_without_a_router_encoders_share_images(apart: FakeCluster) -> None:
    async def scenario(dispatcher: RoutedDispatcher) -> None:
        apart.kill_router()
        await pass_time(0.1)
        requests = [with_images("r0"), with_images("r1")]
        generations = [dispatcher.generate(request, FILES) for request in requests]
        for request, generation in zip(requests, generations, strict=True):
            assert await read(generation) == expected_tokens(request)
        assert [len(indices(apart.workers[f"encoder-{index}"])) for index in range(2)] == [2, 2]

    apart.run(scenario)


@pytest.mark.parametrize("error", [QueueFull("full"), InternalError("bug"), UnknownReservation("gone"), None])
def test_an_encoder_that_refuses_or_dies_is_replaced(apart: FakeCluster, error: InternalError | None) -> None:
    first, second = apart.workers["encoder-0"], apart.workers["encoder-1"]
    first.images.error = error

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = with_images()
        generation = dispatcher.generate(request, FILES)
        await until(lambda: len(first.images.starts) == 1)
        if error is None:
            first.die()
        assert await read(generation) == expected_tokens(request)
        assert generation.num_resumes == 0
        assert sorted(indices(second)) == [0, 1]
        assert indices(first) == [0]

    apart.run(scenario)


def test_a_silent_encoder_is_noticed_and_replaced(apart: FakeCluster) -> None:
    first = apart.workers["encoder-0"]

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = with_images()
        first.is_mute = True
        apart.encode_s = 0.5
        generation = dispatcher.generate(request, FILES)
        await until(lambda: len(first.images.starts) == 1)
        first.is_alive = False
        assert await read(generation) == expected_tokens(request)

    apart.run(scenario, seconds=10.0)


def test_without_any_encoder_the_request_fails_and_says_why(cluster: FakeCluster) -> None:
    cluster.add("prefill-0")
    cluster.add("decode-0", Role.DECODE)

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        generation = dispatcher.generate(with_images(), FILES)
        with pytest.raises(NoWorkers, match="encodes images"):
            await read(generation)
        assert cluster.workers["prefill-0"].held == {}

    cluster.run(scenario)


def test_an_encoder_that_comes_later_is_used(cluster: FakeCluster) -> None:
    cluster.add("prefill-0")
    cluster.add("decode-0", Role.DECODE)

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = with_images()
        generation = dispatcher.generate(request, FILES)
        await pass_time(1.0)
        cluster.add("encoder-0", Role.ENCODER, encodes_images=True)
        assert await read(generation) == expected_tokens(request)

    cluster.run(scenario)


def test_a_file_that_cannot_be_read_is_tried_once(apart: FakeCluster) -> None:
    for index in range(2):
        apart.workers[f"encoder-{index}"].images.error = UnreadableImage("It is truncated.")

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        with pytest.raises(UnreadableImage):
            await read(dispatcher.generate(with_images(), FILES))
        await pass_time(0.1)
        assert sum(len(apart.workers[f"encoder-{index}"].images.starts) for index in range(2)) == 2
        assert apart.workers["prefill-0"].held == {}

    apart.run(scenario)


def test_a_cancelled_request_stops_its_encoders(apart: FakeCluster) -> None:
    first = apart.workers["encoder-0"]

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        generation = dispatcher.generate(with_images(), FILES)
        await until(lambda: len(first.images.starts) == 1)
        generation.cancel()
        await pass_time(0.1)
        assert first.images.cancelled == [first.images.starts[0].handle]

    apart.run(scenario)


@pytest.mark.parametrize("at_s", [0.0, 0.010, 0.0201, 0.030, 0.040])
def test_a_request_that_is_resumed_brings_its_images_again(seeing: FakeCluster, at_s: float) -> None:
    first = seeing.workers["prefill-0"]

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = with_images()
        generation = dispatcher.generate(request, FILES)
        await until(lambda: len(first.images.starts) == 2)
        await pass_time(at_s)
        first.die()
        for worker in seeing.workers.values():
            worker.held.clear()  # the decode worker lost it, too
        seeing.workers["decode-0"].break_streams()
        assert await read(generation) == expected_tokens(request)
        assert sorted(indices(seeing.workers["prefill-1"])) == [0, 1]
        assert generation.num_resumes == 1

    seeing.run(scenario)


def test_a_prefill_worker_that_gives_up_takes_its_images_back(apart: FakeCluster) -> None:
    first, encoder = apart.workers["prefill-0"], apart.workers["encoder-0"]

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = with_images()
        generation = dispatcher.generate(request, FILES)
        await until(lambda: len(encoder.images.starts) == 1)
        [handle] = first.held
        del first.held[handle]
        first.say(m.PrefillEvents(failed=[m.PrefillEnded(handle, InternalError("bug"))]))
        assert await read(generation) == expected_tokens(request)
        assert encoder.images.cancelled == [handle]
        assert {start.destination.worker_id for start in encoder.images.starts[1:]} <= {"prefill-1"}

    apart.run(scenario)
