"""Drives a Runner without the engine loop: sequences and batches made by hand, blocks given out by a counter."""

import random
from collections.abc import Sequence as SequenceOf

from penstock.core.images import ImageSpan
from penstock.core.types import Batch, Request, SampledToken, SamplingParams, ScheduledSequence, Sequence
from penstock.engine.runner import LayersDone, Runner

GREEDY = SamplingParams(temperature=0.0, ignore_eos=True)


class Driver:
    """Hands out blocks (in order, or shuffled as after long use) and runs steps."""

    def __init__(self, runner: Runner, shuffle_seed: int | None = None) -> None:
        self.runner = runner
        layout = runner.kv.layout
        self._block_size = layout.block_size
        self._free = list(range(layout.num_blocks))
        if shuffle_seed is not None:
            random.Random(shuffle_seed).shuffle(self._free)
        self._num_steps = 0

    def sequence(
        self,
        token_ids: SequenceOf[int],
        sampling: SamplingParams = GREEDY,
        images: SequenceOf[ImageSpan] = (),
        image_block_ids: SequenceOf[list[int]] = (),
    ) -> Sequence:
        request = Request(f"request-{self._num_steps}", 0, "gateway", 0, tuple(token_ids), sampling, images=images)
        return Sequence(
            request=request, token_ids=list(token_ids), arrived_s=0.0, image_block_ids=list(image_block_ids)
        )

    async def step(
        self, plan: SequenceOf[tuple[Sequence, int]], on_layers_done: LayersDone | None = None
    ) -> list[SampledToken | None]:
        """Run so many tokens of each sequence; append what was sampled."""
        items = []
        for sequence, num_tokens in plan:
            end = sequence.num_computed_tokens + num_tokens
            while len(sequence.block_ids) * self._block_size < end:
                sequence.block_ids.append(self._free.pop(0))
            items.append(ScheduledSequence(sequence, sequence.num_computed_tokens, num_tokens))
        output = await self.runner.execute(Batch(self._num_steps, tuple(items)), on_layers_done)
        self._num_steps += 1
        for item, token in zip(items, output.tokens, strict=True):
            item.sequence.num_computed_tokens = item.end
            if token is not None:
                item.sequence.token_ids.append(token.token_id)
        return list(output.tokens)

    async def generate(self, sequences: SequenceOf[Sequence], num_tokens: int, chunk: int = 10**9) -> list[list[int]]:
        """Output tokens of each; prompts are run in chunks, mixed with the decodes of those already through."""
        while unfinished := [s for s in sequences if s.num_output_tokens < num_tokens]:
            await self.step([(s, min(chunk, s.num_tokens_to_run)) for s in unfinished])
        return [s.token_ids[-num_tokens:] for s in sequences]
