"""A request that two decode workers began: the first one's link broke on the news of it. One of them must stop."""

from collections.abc import Callable

import pytest

from penstock.core.errors import Draining
from penstock.core.types import FinishReason, SampledToken, TokenLogprobs
from penstock.gateway.dispatcher import RoutedDispatcher
from penstock.wire import messages as m
from tests.unit.gateway.dispatcher.fake_cluster import FakeCluster
from tests.unit.gateway.dispatcher.fake_worker import FakeWorker
from tests.unit.gateway.dispatcher.requests import make_request, read
from tests.unit.gateway.dispatcher.virtual_time import pass_time, until

LOGPROBS = TokenLogprobs(-0.5)


class Story:
    """What the workers say, step by step: f first token, h hand-off to the second, 1 and 2 a token from one of them."""

    def __init__(self, cluster: FakeCluster, has_logprobs: bool = False) -> None:
        self.prefill = cluster.workers["prefill-0"]
        self.decodes = cluster.workers["decode-0"], cluster.workers["decode-1"]
        self.prefill.script = lambda worker, start: worker.say(m.PrefillEvents([start.request.handle]))
        self.has_logprobs = has_logprobs
        self.positions = [0, 0]

    @property
    def handle(self) -> int:
        return self.prefill.offers[0].request.handle

    async def tell(self, events: str) -> None:
        await until(lambda: bool(self.prefill.offers))
        for event in events:
            if event == "f":
                self.prefill.say(m.PrefillEvents(first_tokens=[m.FirstToken(self.handle, SampledToken(100))]))
            elif event == "h":
                self.prefill.say(m.PrefillEvents(handed_off=[m.HandedOff(self.handle, self.decodes[1].ref)]))
            else:
                self.step(int(event) - 1)
            await pass_time(0.001)

    def step(self, decode: int) -> None:
        position = self.positions[decode] = self.positions[decode] + 1
        logprobs = [(self.handle, LOGPROBS)] if self.has_logprobs else []
        step = m.StepOutputs(position, [self.handle], [100 + position], [position], logprobs=logprobs)
        self.decodes[decode].step(step)

    def finish(self, worker: FakeWorker, reason: FinishReason | None = FinishReason.STOP) -> None:
        error = None if reason else Draining("Going away.")
        worker.step(m.StepOutputs(9, finished=[m.Finished(self.handle, reason, error)]))


@pytest.mark.parametrize("has_logprobs", [False, True])
@pytest.mark.parametrize("events", ["f11h22", "1fh122", "fh1212", "f1212h", "h1f22", "f21h2"])
def test_the_one_that_was_not_named_is_stopped(four: FakeCluster, events: str, has_logprobs: bool) -> None:
    story = Story(four, has_logprobs)
    first, second = story.decodes

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        generation = dispatcher.generate(make_request(max_tokens=3))
        await story.tell(events)
        if first.cancelled:
            assert set(first.cancelled) == {story.handle}
        else:  # the last word was the second's before the hand-off: the first shows itself with its next token
            await story.tell("1")
            assert first.cancelled == [story.handle]
        assert second.cancelled == []
        story.finish(second)
        assert await read(generation) == [100, 101, 102]
        assert generation.num_resumes == 0

    four.run(scenario)


@pytest.mark.parametrize("end", [FinishReason.STOP, None])
def test_how_the_stopped_one_ends_does_not_matter(four: FakeCluster, end: FinishReason | None) -> None:
    story = Story(four)
    first, second = story.decodes

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        generation = dispatcher.generate(make_request(max_tokens=3))
        await story.tell("f1h")
        story.finish(first, end)
        await story.tell("22")
        assert len(generation.output_token_ids) == 3
        story.finish(second)
        assert await read(generation) == [100, 101, 102]
        assert generation.num_resumes == 0

    four.run(scenario)


def lose_first(story: Story) -> None:
    story.decodes[0].die()


def finish_first(story: Story) -> None:
    story.finish(story.decodes[0])


@pytest.mark.parametrize("act", [finish_first, lose_first])
def test_what_happens_to_the_first_before_the_second_begins(four: FakeCluster, act: Callable[[Story], None]) -> None:
    """It is done, and nobody else may begin; or it is lost, and so is this attempt."""
    story = Story(four)

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        generation = dispatcher.generate(make_request(max_tokens=3))
        await story.tell("f11")
        story.prefill.script = None
        handle = story.handle
        act(story)
        await pass_time(0.001)
        assert story.prefill.cancelled == story.decodes[1].cancelled == [handle]
        if act is finish_first:
            assert await read(generation) == [100, 101, 102]
        generation.cancel()

    four.run(scenario)
