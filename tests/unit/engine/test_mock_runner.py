"""The mock: its costs, and that its tokens depend on every slot of KV."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.core.errors import InvalidSettings, UnsupportedModel
from penstock.core.types import Batch, ModelInfo, SamplingParams, ScheduledSequence, Sequence, StepOutput, TokenLogprobs
from penstock.engine.mock_costs import MockCosts
from penstock.engine.mock_runner import MockRunner, build, mock_layout
from penstock.engine.options import EngineOptions
from tests.unit.engine.mock_engine import expected_tokens, make_request

INFO = ModelInfo("mock", "1", 1000, 4096, frozenset({2}))


class FakeSleep:
    def __init__(self) -> None:
        self.slept_s = 0.0

    async def __call__(self, seconds: float) -> None:
        self.slept_s += seconds


def make_runner(sleep: FakeSleep | None = None, costs: MockCosts | None = None) -> MockRunner:
    return MockRunner(INFO, mock_layout(8, 16), costs or MockCosts(), sleep or FakeSleep())


async def run(runner: MockRunner, sequence: Sequence, start: int = 0) -> StepOutput:
    return await runner.execute(Batch(1, (ScheduledSequence(sequence, start, sequence.num_tokens - start),)))


def make_sequence(prompt: list[int], block_ids: list[int], **fields: Any) -> Sequence:
    return Sequence(make_request(prompt, sampling=SamplingParams(**fields)), list(prompt), 0.0, block_ids)


async def test_a_token_follows_from_the_whole_sequence() -> None:
    runner = make_runner()
    drawn = set()
    for changed in range(40):
        prompt = [5] * 40
        prompt[changed] = 6
        [token] = (await run(runner, make_sequence(prompt, [0, 1, 2]))).tokens
        assert token is not None
        assert token.token_id == expected_tokens(prompt, 1)[0]
        drawn.add(token.token_id)
    assert len(drawn) > 30
    runner.close()


async def test_a_token_goes_wrong_with_the_slot_before_it() -> None:
    runner = make_runner()
    sequence = make_sequence(list(range(40)), [3, 1, 5])
    await run(runner, sequence)
    slots = np.frombuffer(runner.kv.view, np.uint64)
    slots.reshape(4, -1)[0, 5 * 16 + 7] ^= np.uint64(1)  # token 39, in the sequence's third block
    sequence.token_ids.append(1)
    [token] = (await run(runner, sequence, start=40)).tokens
    assert token is not None
    assert token.token_id != expected_tokens([*range(40), 1], 1)[0]
    del slots
    runner.close()


async def test_writes_every_layer_and_says_so_in_order() -> None:
    runner = make_runner()
    done: list[range] = []
    sequence = make_sequence(list(range(10)), [2])
    batch = Batch(1, (ScheduledSequence(sequence, 0, 5),))
    output = await runner.execute(batch, done.append)
    assert done == [range(1), range(1, 2)]
    assert output.tokens == (None,)  # the prompt is not at its end
    planes = np.frombuffer(runner.kv.view, np.uint64).reshape(4, -1)
    assert (planes[:, 32:37] != 0).all()
    assert (planes[:, 37:48] == 0).all()
    assert (planes == planes[0]).all()
    del planes
    runner.close()


async def test_never_draws_an_end_token() -> None:
    info = ModelInfo("mock", "1", 4, 4096, frozenset({0, 1, 3}))
    runner = MockRunner(info, mock_layout(8, 16), MockCosts(), FakeSleep())
    for at in range(20):
        [token] = (await run(runner, make_sequence([at], [0]))).tokens
        assert token is not None
        assert token.token_id == 2
    runner.close()


@pytest.mark.parametrize(("num_logprobs", "num_top"), [(0, 0), (3, 1)])
async def test_gives_log_probabilities_when_asked(num_logprobs: int, num_top: int) -> None:
    runner = make_runner()
    [token] = (await run(runner, make_sequence([1, 2], [0], num_logprobs=num_logprobs))).tokens
    assert token is not None
    assert token.logprobs == TokenLogprobs(0.0, (token.token_id,) * num_top, (0.0,) * num_top)
    runner.close()


async def test_sleeps_by_its_cost_model() -> None:
    sleep = FakeSleep()
    runner = make_runner(sleep, MockCosts(1.0, 0.1, 2.0, 0.01))
    prompt, decoding = make_sequence([1] * 10, [0]), make_sequence([1] * 10, [1])
    await run(runner, prompt)
    assert sleep.slept_s == pytest.approx(2.0)
    await run(runner, decoding, start=9)
    assert sleep.slept_s == pytest.approx(2.0 + 2.01)
    both = Batch(1, (ScheduledSequence(prompt, 0, 5), ScheduledSequence(decoding, 9, 1)))
    output = await runner.execute(both)
    assert output.duration_s == pytest.approx(1.5 + 2.01)
    runner.close()


def test_costs_are_read_from_a_line() -> None:
    assert MockCosts.parse("") == MockCosts()
    assert MockCosts.parse("decode_s=0.01, prefill_s=0,") == MockCosts(prefill_s=0.0, decode_s=0.01)


@pytest.mark.parametrize("text", ["decode_s", "decode_s=fast", "pace=1", "decode_s=-1", "decode_s=nan", "decode_s=inf"])
def test_costs_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(InvalidSettings, match="mock_costs"):
        MockCosts.parse(text)


def _folder(tmp_path: Path, config: dict[str, object]) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.mark.parametrize(("eos", "ids"), [(5, {5}), ([5, 6], {5, 6}), (None, set())])
def test_mocks_the_model_in_a_folder(tmp_path: Path, eos: object, ids: set[int]) -> None:
    config = {"vocab_size": 99, "max_position_embeddings": 512, "eos_token_id": eos}
    runner = build(EngineOptions(_folder(tmp_path, config), num_blocks=7, mock_costs="decode_s=0"))
    assert (runner.info.vocab_size, runner.info.max_context_tokens) == (99, 512)
    assert set(runner.info.eos_token_ids) == ids
    assert runner.kv.layout.num_blocks == 7
    runner.close()


def test_takes_no_more_memory_than_it_may(tmp_path: Path) -> None:
    config = _folder(tmp_path, {"vocab_size": 99, "max_position_embeddings": 512})
    runner = build(EngineOptions(config, kv_memory_bytes=1 << 16))
    assert runner.kv.layout.num_bytes == 1 << 16
    runner.close()
    with pytest.raises(InvalidSettings, match="not even one KV block"):
        build(EngineOptions(config, kv_memory_bytes=100))


@pytest.mark.parametrize("config", [{}, {"vocab_size": 5}, {"vocab_size": "5", "max_position_embeddings": 5}])
def test_a_folder_that_says_too_little_is_refused(tmp_path: Path, config: dict[str, object]) -> None:
    with pytest.raises(UnsupportedModel, match="vocab_size"):
        build(EngineOptions(_folder(tmp_path, config)))


def test_what_is_no_model_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"no config\.json"):
        build(EngineOptions(tmp_path))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UnsupportedModel, match="not a JSON object"):
        build(EngineOptions(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UnsupportedModel, match="cannot be read"):
        build(EngineOptions(tmp_path))
