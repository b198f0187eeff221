"""Who keeps decoding when not all sequences fit in memory, after FastSwitch (arXiv 2411.18424).

FastSwitch re-reads priorities as it goes (0.02 to 0.04 times per step) and keeps the most urgent sequences resident;
the others are swapped out. What it leaves open is decided here by what a switch costs:

    order of keeping   priority, larger first; then resident before swapped; then least served; then first arrived
    victims            the end of that order, as few as give `num_blocks`

Equal priorities never push each other out, so a stable mix of priorities causes no switch at all.
"""

from collections.abc import Callable, Iterable, Mapping

from penstock.core.types import Sequence


def choose_victims(
    running: Iterable[Sequence], num_blocks: int, served: Mapping[str, float] | None = None
) -> tuple[Sequence, ...]:
    """Who gives its blocks back so that `num_blocks` come free, first victim first; all there are if they are too few.

    `served` maps a request_id to the service it has had, in any one unit (`policies.fairness` counts PTE). What is
    being handed over (`is_prefill_only`) is never a victim: its blocks are being read.
    """
    keeping = _keeping_order(served or {})
    victims: list[Sequence] = []
    for sequence in sorted((s for s in running if not s.is_prefill_only), key=keeping, reverse=True):
        if num_blocks <= 0:
            break
        victims.append(sequence)
        num_blocks -= len(sequence.block_ids)
    return tuple(victims)


def choose_residents(
    sequences: Iterable[Sequence], num_blocks: int, block_size: int, served: Mapping[str, float] | None = None
) -> tuple[Sequence, ...]:
    """Who of running and swapped sequences should be resident in `num_blocks` blocks, most deserving first.

    Resident now is who holds blocks. Each needs blocks for its tokens and the next one. The first that does not fit
    ends the list: a long sequence of high priority is not starved by short ones of low priority.
    """
    residents: list[Sequence] = []
    for sequence in in_keeping_order(sequences, served):
        num_blocks -= max(len(sequence.block_ids), -(-(sequence.num_tokens + 1) // block_size))
        if num_blocks < 0:
            break
        residents.append(sequence)
    return tuple(residents)


def in_keeping_order(running: Iterable[Sequence], served: Mapping[str, float] | None = None) -> list[Sequence]:
    """Who is to be kept first comes first; what is being handed over before all."""
    keeping = _keeping_order(served or {})
    return sorted(running, key=lambda sequence: (not sequence.is_prefill_only, *keeping(sequence)))


def _keeping_order(served: Mapping[str, float]) -> Callable[[Sequence], tuple[int, bool, float, float]]:
    def key(sequence: Sequence) -> tuple[int, bool, float, float]:
        request = sequence.request
        return -request.priority, not sequence.block_ids, served.get(request.request_id, 0.0), sequence.arrived_s

    return key
