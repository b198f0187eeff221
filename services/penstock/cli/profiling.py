"""Measures what steps cost on a live system, through its gateway, one controlled load at a time.

    prompts    one at a time, each length several times     the prefill stage is one step
    batches    so many streams at once, of equal lengths     the decode stage is as many steps as tokens after the first

How long the stages took is what the workers say: the gateway's /metrics sums it up. A client on the same machine sees
tokens late, and several at once, when it does not get the processor. What TTFT holds beyond the prefill stage is
routing, messages and Python: a quantity of its own in the profile.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from statistics import median

from prometheus_client.parser import text_string_to_metric_families

from penstock.core.errors import InvalidSettings
from penstock.simulator.cost_profile import DecodeSample, PrefillSample
from penstock_loadgen.endpoint import COMPLETIONS, PATHS, EndpointSpec

NUM_MESSAGES = 4  # route, answer, offer, first token: one way each, between client and first token
_TOKEN_IDS = (10, 250)  # plain text in any vocabulary
_PATH = PATHS[COMPLETIONS]
_METRICS_TIMEOUT_S = 10.0
_NUM_OUTPUT = 48  # tokens of each stream in a batch


@dataclass(frozen=True, slots=True)
class ProfilePoints:
    """What is measured."""

    prompt_lengths: tuple[int, ...] = (16, 64, 128, 256, 512, 1024)
    num_repeats: int = 7
    batches: tuple[tuple[int, int], ...] = ((1, 16), (1, 512), (2, 128), (4, 32), (4, 384), (8, 64), (8, 256))


@dataclass(frozen=True, slots=True)
class Measured:
    """Samples of one pass over the points."""

    prefills: list[PrefillSample]
    decodes: list[DecodeSample]
    overheads_s: list[float]  # of the first token, one for each prompt length


class Profiler:
    """Drives one gateway; `endpoint` names its model."""

    def __init__(self, endpoint: EndpointSpec, now_s: Callable[[], float], seed: int = 0) -> None:
        self._endpoint = endpoint
        self._client = endpoint.client(now_s)
        self._now_s = now_s
        self._random = Random(seed)

    async def measure(self, points: ProfilePoints, on_point: Callable[[str], None] = lambda what: None) -> Measured:
        """One pass; repeat it, and take all samples together, where timings are noisy."""
        await self._streams(2, 16, 8)  # connections, code paths
        measured = Measured([], [], [])
        for num_tokens in points.prompt_lengths:
            on_point(f"a prompt of {num_tokens} tokens")
            await self._measure_prompt(num_tokens, points.num_repeats, measured)
        for num_streams, num_tokens in points.batches:
            on_point(f"{num_streams} streams after {num_tokens} tokens")
            measured.decodes.append(await self._measure_batch(num_streams, num_tokens))
        return measured

    def close(self) -> None:
        self._client.close()

    async def _measure_prompt(self, num_tokens: int, num_repeats: int, measured: Measured) -> None:
        ttfts_s: list[float] = []

        async def one_at_a_time() -> None:
            for _ in range(num_repeats):
                ttfts_s.extend(stream[0] for stream in await self._streams(1, num_tokens, 1))

        prefill_s = await self._mean_stage_s("prefill", one_at_a_time)
        measured.overheads_s.append(max(0.0, median(ttfts_s) - prefill_s))
        measured.prefills.append(PrefillSample(num_tokens, prefill_s))

    async def _measure_batch(self, num_streams: int, num_tokens: int) -> DecodeSample:
        """The first token is prefill's: the stage has a step for each of the others."""

        async def all_at_once() -> None:
            await self._streams(num_streams, num_tokens, _NUM_OUTPUT)

        decode_s = await self._mean_stage_s("decode", all_at_once)
        num_context = num_streams * (num_tokens + _NUM_OUTPUT // 2)
        return DecodeSample(num_streams, num_context, decode_s / (_NUM_OUTPUT - 1))

    async def _mean_stage_s(self, stage: str, run: Callable[[], Awaitable[None]]) -> float:
        """Mean seconds of a stage over the requests of `run`, as the gateway counts it."""
        before = await self._stage_seconds(stage)
        await run()
        after = await self._stage_seconds(stage)
        num_requests = after[1] - before[1]
        if num_requests < 1:
            raise self._no_gateway(f"counts no {stage} stage")
        return (after[0] - before[0]) / num_requests

    async def _streams(self, num_streams: int, num_tokens: int, num_output: int) -> list[list[float]]:
        """Send so many requests at once; seconds from sending to each event of each."""
        sent_s = self._now_s()
        exchanges = await asyncio.gather(
            *(
                self._client.post(_PATH, self._body(num_tokens, num_output), headers=self._endpoint.headers)
                for _ in range(num_streams)
            )
        )
        for exchange in exchanges:
            if not exchange.is_success or len(exchange.event_times_s) < min(num_output, 2):
                reason = exchange.error or bytes(exchange.body).decode(errors="replace")[:200]
                raise InvalidSettings("--url", self._endpoint.url, f"did not answer a probe whole: {reason}")
        return [[at_s - sent_s for at_s in exchange.event_times_s] for exchange in exchanges]

    def _body(self, num_tokens: int, num_output: int) -> bytes:
        prompt = [self._random.randint(*_TOKEN_IDS) for _ in range(num_tokens)]  # never the same: nothing is cached
        body = {"model": self._endpoint.model, "prompt": prompt, "max_tokens": num_output, "ignore_eos": True}
        return json.dumps({**body, "temperature": 0, "stream": True, "return_token_ids": True}).encode()

    async def _stage_seconds(self, stage: str) -> tuple[float, float]:
        """Sum and count of a stage so far."""
        answer = await self._client.get("/metrics", self._endpoint.headers, _METRICS_TIMEOUT_S)
        if not answer.is_success:
            raise self._no_gateway(f"gives no /metrics ({answer.error})")
        found = {
            sample.name: sample.value
            for family in text_string_to_metric_families(bytes(answer.body).decode())
            for sample in family.samples
            if sample.labels.get("stage") == stage
        }
        return found.get("penstock_stage_seconds_sum", 0.0), found.get("penstock_stage_seconds_count", 0.0)

    def _no_gateway(self, what: str) -> InvalidSettings:
        return InvalidSettings("--url", self._endpoint.url, f"{what}, unlike a Penstock gateway")


def together(passes: Sequence[Measured]) -> Measured:
    """All samples of several passes."""
    return Measured(
        [sample for measured in passes for sample in measured.prefills],
        [sample for measured in passes for sample in measured.decodes],
        [overhead_s for measured in passes for overhead_s in measured.overheads_s],
    )
