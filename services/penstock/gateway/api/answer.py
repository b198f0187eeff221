"""From token ids to sequences being generated, and their texts: what both endpoints do once the prompt is known.

Life of a request: the end of step 1 (seeds, hashes, deadline), then step 9.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from penstock.core.blocks import hash_blocks
from penstock.core.images import hashed_token_ids
from penstock.core.types import Request, SamplingParams
from penstock.gateway.api.caller import Caller
from penstock.gateway.api.choice import Choice, ChoiceReader, TextRules
from penstock.gateway.api.exchange import Exchange
from penstock.gateway.api.request_log import RequestRecord
from penstock.gateway.api.sampling_body import SamplingBody
from penstock.gateway.api.service import Service
from penstock.gateway.images.prompt import PromptImage
from penstock.gateway.tasks import first_error


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be generated: `body.n` choices for each prompt."""

    body: SamplingBody
    prompts: Sequence[Sequence[int]]  # token ids
    sampling: SamplingParams  # but for the seed
    images: Sequence[Sequence[PromptImage]]  # per prompt


class Answer:
    """All choices of one HTTP request, prompt by prompt, from their start to their end."""

    def __init__(self, service: Service, caller: Caller, asked: Asked, kind: str) -> None:
        self.asked = asked
        self.answer_id = f"{kind}-{secrets.token_hex(16)}"
        self.created_s = int(service.wall_s())
        self._metrics = service.metrics
        self.readers = self._begin(service, caller)
        self._record = caller.record
        if caller.record is not None:
            self._enter(caller.record)

    def _begin(self, service: Service, caller: Caller) -> list[ChoiceReader]:
        asked, body = self.asked, self.asked.body
        rules = TextRules(tuple(body.stop), body.min_tokens, asked.sampling.num_logprobs is not None)
        seeds = iter(body.seeds(len(asked.prompts)))
        readers: list[ChoiceReader] = []
        for prompt, images in zip(asked.prompts, asked.images, strict=True):
            spans, files = [image.span for image in images], [image.file for image in images]
            hashes = hash_blocks(hashed_token_ids(prompt, spans), caller.salt)
            service.metrics.request_prompt_tokens.observe(len(prompt))
            for _ in range(body.n):
                index = len(readers)
                request = Request(
                    request_id=f"{self.answer_id}-{index}",
                    attempt=0,
                    gateway_id="",
                    handle=0,
                    prompt_token_ids=prompt,
                    sampling=replace(asked.sampling, seed=next(seeds)),
                    images=spans,
                    block_hashes=hashes,
                    first_token_deadline_s=caller.first_token_deadline_s,
                    priority=caller.priority,
                    tenant=caller.tenant,
                    traceparent=caller.traceparent,
                )
                detokenizer = service.model.tokenizer.detokenizer(body.skip_special_tokens)
                generation = service.dispatcher.generate(request, caller.tenant, files)
                choice = Choice(index, generation, detokenizer, rules)
                choice.generation.timeline.arrived_s = caller.arrived_s
                readers.append(ChoiceReader(choice, service.metrics, caller.arrived_s, service.now_s))
        return readers

    def _enter(self, record: RequestRecord) -> None:
        """Say what was asked for, where the request is remembered."""
        record.answer_id = self.answer_id
        record.num_prompt_tokens = self.num_prompt_tokens
        record.num_images = sum(map(len, self.asked.images))
        record.is_streamed = self.asked.body.stream
        record.choices = [reader.choice for reader in self.readers]
        if record.context is not None:
            sampling = self.asked.sampling
            record.attributes = {
                "gen_ai.request.max_tokens": sampling.max_tokens,
                "gen_ai.request.temperature": sampling.temperature,
                "gen_ai.request.top_p": sampling.top_p,
                "gen_ai.request.choice.count": len(self.readers),
            }

    async def consume(self, exchange: Exchange, consume: Callable[[ChoiceReader], Awaitable[None]]) -> None:
        """Let `consume` read every choice to its end; stop all of them when the client leaves or one fails."""
        error: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(self._cancel_when_left(exchange))
                if len(self.readers) == 1:
                    await consume(self.readers[0])
                else:
                    async with asyncio.TaskGroup() as consumers:
                        for reader in self.readers:
                            consumers.create_task(_awaited(consume(reader)))
                watcher.cancel()
        except BaseExceptionGroup as errors:
            error = first_error(errors)
            raise error from None
        finally:
            for reader in self.readers:
                reader.close(error)
            self._metrics.prompt_tokens.value += self.num_prompt_tokens
            self._metrics.cached_prompt_tokens.value += self.num_cached_tokens
            if self._record is not None:
                self._record.num_cached_tokens = self.num_cached_tokens

    async def _cancel_when_left(self, exchange: Exchange) -> None:
        await exchange.wait_for_disconnect()
        for reader in self.readers:
            reader.choice.generation.cancel()

    @property
    def num_prompt_tokens(self) -> int:
        """Each prompt once, however many choices it has."""
        return sum(map(len, self.asked.prompts))

    @property
    def num_cached_tokens(self) -> int:
        return sum(reader.choice.generation.num_cached_tokens for reader in self.readers[:: self.asked.body.n])

    def usage(self) -> dict[str, object]:
        """What the request cost, counted here and nowhere else."""
        num_output_tokens = sum(reader.choice.num_tokens for reader in self.readers)
        return {
            "prompt_tokens": self.num_prompt_tokens,
            "completion_tokens": num_output_tokens,
            "total_tokens": self.num_prompt_tokens + num_output_tokens,
            "prompt_tokens_details": {"cached_tokens": self.num_cached_tokens},
        }


async def _awaited(work: Awaitable[None]) -> None:
    await work
