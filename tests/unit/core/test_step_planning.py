"""Steps of a book without a model: what they hold, who yields to whom between two layers, whose turn it is."""

from itertools import count

import pytest

from penstock.core.blocks import BlockPool
from penstock.core.embeddings import EmbeddingBook
from penstock.core.images import ImageSpan
from penstock.core.policies.admission import AdmissionLimits
from penstock.core.policies.batching import BatchLimits
from penstock.core.policies.layered_prefill import LayeringLimits
from penstock.core.schedule import Batching, ModelDepth, Schedule
from penstock.core.sequences import SequenceBook
from penstock.core.step import Step
from penstock.core.step_cost import StepCost
from penstock.core.step_planning import StepPlanner
from penstock.core.types import Request, SampledToken, SamplingParams, Sequence
from tests.unit.engine.mock_engine import FakeOwner

COST = StepCost(0.0, 0.001, 0.0, 0.01, 0.0, 0.001)  # a second per 1000 prompt tokens
NOW_S = 100.0
_handles = count()


def make(schedule: Schedule, num_blocks: int = 1000) -> StepPlanner:
    book = SequenceBook(BlockPool(num_blocks, 16), AdmissionLimits(64, 100_000), lambda: NOW_S)
    return StepPlanner(book, schedule, lambda sequence: None, lambda: COST)


def accept(
    planner: StepPlanner, num_tokens: int, due_in_s: float = float("inf"), tenant: str = "", stays: bool = False
) -> Sequence:
    handle = next(_handles)
    request = Request(
        f"r{handle}",
        0,
        "g",
        handle,
        range(num_tokens),
        SamplingParams(max_tokens=100),
        first_token_deadline_s=NOW_S + due_in_s,
        tenant=tenant,
    )
    return planner.book.accept(request, FakeOwner(), is_prefill_only=not stays)


def run(planner: StepPlanner, step: Step) -> None:
    planner.finish(step, [SampledToken(1) if item.is_sampled else None for item in step.ending], 0.1)


def begin(planner: StepPlanner) -> Step:
    step = planner.begin()
    assert step is not None
    return step


def decoding(planner: StepPlanner, num_sequences: int, num_tokens: int = 16) -> list[Sequence]:
    sequences = [accept(planner, num_tokens, stays=True) for _ in range(num_sequences)]
    run(planner, begin(planner))
    return sequences


def test_a_long_prompt_yields_to_an_urgent_one_and_goes_on_afterwards() -> None:
    planner = make(Schedule(BatchLimits(8192, 64)))
    file = accept(planner, 5000, due_in_s=60)
    first = begin(planner)
    text = accept(planner, 100, due_in_s=0.5)
    assert planner.should_yield(first, progress=0.25)
    planner.pause(first, 0.25, 1.25)
    second = begin(planner)
    assert [item.sequence for item in second.items] == [text]
    run(planner, second)
    assert begin(planner) is first
    run(planner, first)
    assert file.num_computed_tokens == 5000
    assert planner.accounts.totals.num_yields == 1


def test_nobody_yields_to_the_patient_nor_twice() -> None:
    planner = make(Schedule(BatchLimits(8192, 64)))
    accept(planner, 5000, due_in_s=60)
    step = begin(planner)
    accept(planner, 100, due_in_s=600)
    assert not planner.should_yield(step, progress=0.1)
    accept(planner, 100, due_in_s=0.5)
    step.num_pauses = 1
    assert not planner.should_yield(step, progress=0.1)


def test_first_come_first_served_means_that_nobody_yields() -> None:
    planner = make(Schedule(BatchLimits(8192, 64), order="fcfs"))
    accept(planner, 5000, due_in_s=60)
    step = begin(planner)
    accept(planner, 100, due_in_s=0.5)
    assert not planner.can_pause(step)
    assert not planner.should_yield(step, progress=0.1)


def test_a_step_with_decodes_never_yields() -> None:
    planner = make(Schedule(BatchLimits(512, 64)))
    decoding(planner, 2)
    accept(planner, 5000, due_in_s=60)
    step = begin(planner)
    accept(planner, 10, due_in_s=0.1)
    assert not planner.should_yield(step, progress=0.1)


def test_a_paused_step_whose_prompts_are_all_cancelled_is_dropped_and_frees_its_blocks() -> None:
    planner = make(Schedule(BatchLimits(8192, 64)))
    file = accept(planner, 5000, due_in_s=60)
    step = begin(planner)
    planner.pause(step, 0.5, 1.0)
    planner.book.release(file)
    assert planner.book.pool.num_referenced > 0  # until nobody can resume it
    assert planner.begin() is None
    assert planner.book.pool.num_referenced == 0


def test_the_budget_of_a_step_follows_from_what_its_decodes_leave() -> None:
    planner = make(Schedule(BatchLimits(2048, 64), tpot_slo_s=0.3))
    decoding(planner, 4)
    accept(planner, 5000)
    step = begin(planner)
    # 300 tokens fit in 0.3 s; whole tiles of 128, decodes included
    assert sum(item.num_tokens for item in step.items) == 256


def test_decodes_beyond_the_objective_wait_and_nothing_new_starts() -> None:
    planner = make(Schedule(BatchLimits(2048, 64), tpot_slo_s=0.02))
    sequences = decoding(planner, 20)
    waiting = accept(planner, 40, stays=True)
    step = begin(planner)
    # 0.98 * 0.02 s holds 0.01 s and 9 sequences of 0.001 s each
    assert [item.sequence for item in step.items] == sequences[:9]
    assert waiting in planner.book.waiting


def test_a_cohort_passes_one_group_of_layers_in_each_step() -> None:
    planner = make(Schedule(BatchLimits(8192, 64), Batching.LAYERED, depth=ModelDepth(48, 128)))
    decoding(planner, 2)
    prompt = accept(planner, 1500)
    for number in range(3):  # 1500 tokens: three groups of 16 layers
        step = begin(planner)
        assert len(step.items) == 2
        assert step.layers_share * 48 == 16
        assert (step.is_first, step.is_last) == (number == 0, number == 2)
        assert prompt.num_computed_tokens == 0
        run(planner, step)
    assert prompt.num_computed_tokens == 1500
    assert begin(planner).cohort == ()


def test_what_a_cohort_costs_is_learnt_from_the_layers_it_passes() -> None:
    planner = make(Schedule(BatchLimits(8192, 64), Batching.LAYERED, depth=ModelDepth(48, 128)))
    decoding(planner, 2)
    accept(planner, 1500)
    decode_s = planner.accounts.costs.step_cost().decode_s(2, 0)
    for _ in range(3):
        step = begin(planner)
        planner.finish(step, [SampledToken(1) for item in step.ending], 0.1 + 0.001 * (2 + 500 - 32))
    costs = planner.accounts.costs
    assert costs.prefill_s_per_token == pytest.approx(0.001)
    assert costs.step_cost().decode_s(2, 0) == decode_s


def test_without_decodes_a_prompt_under_way_is_not_layered_either() -> None:
    planner = make(Schedule(BatchLimits(1000, 64), Batching.ADAPTIVE, depth=ModelDepth(48, 128)))
    accept(planner, 2000)
    for _ in range(2):
        step = begin(planner)
        assert step.cohort == ()
        run(planner, step)


def test_a_preemption_beside_a_cohort_does_not_bring_its_prompts_into_the_batch() -> None:
    layering = LayeringLimits(tokens_per_group=64, max_cohort_tokens=1024)
    schedule = Schedule(BatchLimits(8192, 64), Batching.LAYERED, depth=ModelDepth(16, 8), layering=layering)
    planner = make(schedule, num_blocks=92)
    decoding(planner, 2)
    prompt = accept(planner, 1400, stays=True)
    while prompt.num_computed_tokens < 1400:
        step = begin(planner)
        assert prompt not in [item.sequence for item in step.items]
        run(planner, step)
    assert planner.accounts.totals.num_preemptions > 0


def test_a_dense_model_is_not_layered_unless_told_to() -> None:
    planner = make(Schedule(BatchLimits(8192, 64), Batching.ADAPTIVE, depth=ModelDepth(48, 1)))
    decoding(planner, 2)
    accept(planner, 1500)
    step = begin(planner)
    assert step.cohort == ()
    assert sum(item.num_tokens for item in step.items) == 1502


def test_tenants_take_turns_however_much_one_of_them_sends() -> None:
    planner = make(Schedule(BatchLimits(100, 64)))
    greedy = [accept(planner, 100, tenant="greedy") for _ in range(4)]
    modest = [accept(planner, 100, tenant="modest") for _ in range(2)]
    served = []
    for _ in range(6):
        step = begin(planner)
        served += [item.sequence for item in step.items]
        run(planner, step)
    assert served == [greedy[0], modest[0], greedy[1], modest[1], greedy[2], greedy[3]]


def test_a_stream_that_lost_its_blocks_comes_before_every_prompt() -> None:
    planner = make(Schedule(BatchLimits(4096, 64)))
    [stream] = decoding(planner, 1)
    planner.book.preempt(stream)
    accept(planner, 10, due_in_s=0.5)
    assert begin(planner).items[0].sequence is stream


def with_image(planner: StepPlanner, start: int, num_tokens: int) -> Sequence:
    """A prompt one of whose images is being encoded."""
    handle = next(_handles)
    images = (ImageSpan(start, 32, b"i" * 16, (1, 4, 32)),)
    request = Request(f"r{handle}", 0, "g", handle, range(num_tokens), SamplingParams(), images=images)
    planner.book.embeddings = planner.book.embeddings or EmbeddingBook(64)
    return planner.book.accept(request, FakeOwner(), is_prefill_only=False)


@pytest.mark.parametrize("batching", [Batching.STALL_FREE, Batching.PREFILL_FIRST, Batching.LAYERED])
def test_a_prompt_runs_up_to_an_image_that_is_being_encoded_and_on_when_it_is_there(batching: Batching) -> None:
    planner = make(Schedule(BatchLimits(4096, 64), batching=batching, depth=ModelDepth(1)))
    sequence = with_image(planner, 40, 100)
    run(planner, begin(planner))
    assert sequence.num_computed_tokens == 40
    assert planner.begin() is None
    planner.book.arrived(sequence, 0)
    run(planner, begin(planner))
    assert sequence.num_output_tokens == 1


@pytest.mark.parametrize("batching", [Batching.STALL_FREE, Batching.PREFILL_FIRST, Batching.LAYERED])
def test_nobody_waits_for_the_image_of_another(batching: Batching) -> None:
    planner = make(Schedule(BatchLimits(4096, 64), batching=batching, depth=ModelDepth(1)))
    [stream] = decoding(planner, 1)
    at_once = with_image(planner, 0, 100)
    under_way = with_image(planner, 16, 100)
    run(planner, begin(planner))
    behind = accept(planner, 64, stays=True)
    run(planner, begin(planner))
    run(planner, begin(planner))
    assert (at_once.num_computed_tokens, under_way.num_computed_tokens) == (0, 16)
    assert behind.num_output_tokens > 0
    assert stream.num_output_tokens >= 2


def test_nobody_yields_to_a_prompt_whose_image_is_being_encoded() -> None:
    planner = make(Schedule(BatchLimits(8192, 64), order="slack_edf"))
    accept(planner, 4000)
    step = begin(planner)
    with_image(planner, 0, 100)
    assert not planner.should_yield(step, 0.1)
