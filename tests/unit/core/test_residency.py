"""Who is on the device and who on the host, and what moving there and back costs."""

from dataclasses import replace

import pytest

from penstock.core.blocks import BlockPool
from penstock.core.policies.admission import AdmissionLimits
from penstock.core.policies.swap import SwapCost
from penstock.core.residency import Residency, SwapRules
from penstock.core.sequences import SequenceBook
from penstock.core.step_cost import StepCost
from penstock.core.types import Sequence
from tests.unit.engine.mock_engine import FakeOwner, make_request
from tests.unit.engine.sequence_book import step

COPY_S = 0.5
RULES = SwapRules(SwapCost(COPY_S, float("inf")), token_bytes=100, may_recompute=False)
SLOW = StepCost(100.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class Device:
    """A book of ten blocks with a clock that is set by hand."""

    def __init__(self, rules: SwapRules = RULES, cost: StepCost = SLOW) -> None:
        self.now_s = 0.0
        self.book = SequenceBook(BlockPool(10, 16), AdmissionLimits(8, 10_000), lambda: self.now_s)
        self.residency = Residency(self.book, rules, lambda: cost)

    def accept(self, num_tokens: int, priority: int, handle: int) -> Sequence:
        request = make_request(range(num_tokens), handle=handle, priority=priority)
        return self.book.accept(request, FakeOwner(), is_prefill_only=False)

    def decoding(self, num_tokens: int, priority: int, handle: int) -> Sequence:
        sequence = self.accept(num_tokens, priority, handle)
        self.residency.settle()
        step(self.book, sequence)
        sequence.token_ids.append(1)
        return sequence


def test_what_does_not_fit_waits_without_blocks() -> None:
    device = Device()
    device.decoding(100, 1, 1)
    late = device.accept(100, 1, 2)
    device.residency.settle()
    assert late in device.book.preempted
    assert device.residency.num_swaps == 0  # equals do not push each other out


def test_the_more_urgent_takes_the_place_of_another_that_comes_back_with_all_it_had() -> None:
    device = Device()
    first = device.decoding(100, 1, 1)
    urgent = device.accept(100, 2, 2)
    device.residency.settle()
    assert first not in device.book.running
    assert device.residency.next_end_s == COPY_S  # one contiguous piece
    device.now_s = COPY_S
    device.residency.settle()
    assert urgent in device.book.waiting
    device.book.release(urgent)
    device.residency.settle()
    device.now_s = 2 * COPY_S
    device.residency.settle()
    assert first in device.book.running
    assert first.num_computed_tokens == 100
    device.book.release(first)
    assert device.book.pool.num_referenced == 0


@pytest.mark.parametrize(("is_grouped", "num_pieces"), [(True, 1), (False, 7)])
def test_a_device_that_waits_for_its_copies_waits_for_each_piece(is_grouped: bool, num_pieces: int) -> None:
    device = Device(replace(RULES, is_asynchronous=False, is_grouped=is_grouped))
    device.decoding(100, 1, 1)
    device.accept(100, 2, 2)
    device.residency.settle()
    assert device.residency.take_stall_s() == num_pieces * COPY_S
    assert device.residency.take_stall_s() == 0.0


@pytest.mark.parametrize(("is_incremental", "num_bytes"), [(True, 2 * 16 * 100), (False, 7 * 16 * 100)])
def test_what_the_host_has_is_not_copied_again(is_incremental: bool, num_bytes: int) -> None:
    device = Device(replace(RULES, is_incremental=is_incremental, is_asynchronous=False))
    sequence = device.decoding(90, 1, 1)
    device.residency.swap_out(sequence)
    device.residency.settle()
    sequence.token_ids += [1] * 15
    step(device.book, sequence)
    before = device.residency.num_bytes
    device.residency.swap_out(sequence)
    assert device.residency.num_bytes - before == num_bytes  # the block that was not full has grown


def test_what_is_sooner_computed_than_copied_is_computed() -> None:
    device = Device(replace(RULES, may_recompute=True), StepCost(0.1, 0.0, 0.0, 0.0, 0.0, 0.0))
    sequence = device.decoding(90, 1, 1)
    device.residency.swap_out(sequence)
    device.now_s = 2 * COPY_S
    device.residency.settle()
    assert sequence in device.book.waiting


def test_a_sequence_that_ends_while_it_is_copied_out_frees_its_blocks_when_that_is_done() -> None:
    device = Device()
    sequence = device.decoding(90, 1, 1)
    device.residency.swap_out(sequence)
    device.book.release(sequence)
    assert device.book.pool.num_referenced > 0
    device.now_s = COPY_S
    device.residency.settle()
    assert device.book.pool.num_referenced == 0
    assert not device.book.preempted
