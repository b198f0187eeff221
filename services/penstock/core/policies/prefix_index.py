"""Which worker holds how much of a prompt: block hashes to workers, learnt from heartbeats and from own routes.

Takes part in "route". Workers are bits of an integer, so one dictionary look-up per hash compares all of them:

    hash of tokens [0, 16)  -> 0b1011      workers 0, 1 and 3 hold the first 16 tokens
    hash of tokens [0, 32)  -> 0b0001      only worker 0 holds 32

A worker whose blocks span n hashes stores every n-th only, and is asked for those only. Not a decision but the memory
of one; it reads no clock: `age` is told the time.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from penstock.core.blocks import HASH_BLOCK_TOKENS

_MAX_RETIRED = 64  # bits of departed workers that are swept out together: one pass over the index
_FEW = 50  # workers


class PrefixIndex:
    """At most `max_hashes` confirmed hashes (about 200 bytes each); the least recently used are forgotten first.

    Routed prompts are entered as *expected*: they count like confirmed ones for `expected_for_s` to twice that, by
    which time a heartbeat has confirmed them or they did not come to be.
    """

    def __init__(self, max_hashes: int = 500_000, expected_for_s: float = 5.0, max_expected: int = 1024) -> None:
        self._max_hashes = max_hashes
        self._expected_for_s = expected_for_s
        self._max_expected = max_expected  # hashes per route, so that one huge prompt does not stall the router
        self._confirmed: dict[bytes, int] = {}  # in order of last use
        self._expected: dict[bytes, int] = {}
        self._expected_before: dict[bytes, int] = {}
        self._aged_s = 0.0
        self._bits: dict[str, int] = {}  # worker_id -> bit
        self._worker_ids: dict[int, str] = {}  # by position of the bit
        self._members: dict[int, int] = {}  # hashes per block -> bits of the workers with such blocks
        self._retired = 0

    def __len__(self) -> int:
        return len(self._confirmed)

    def add_worker(self, worker_id: str, block_size: int) -> None:
        """Begin with a worker that holds nothing, whatever was known under its name."""
        self.remove_worker(worker_id)
        in_use = self._retired | sum(self._bits.values())
        bit = ~in_use & (in_use + 1)  # the lowest free one
        stride = max(1, block_size // HASH_BLOCK_TOKENS)
        self._bits[worker_id] = bit
        self._worker_ids[bit.bit_length() - 1] = worker_id
        self._members[stride] = self._members.get(stride, 0) | bit

    def remove_worker(self, worker_id: str) -> None:
        """Forget a worker. Its bit stays unused until many are swept out at once."""
        bit = self._bits.pop(worker_id, 0)
        if not bit:
            return
        del self._worker_ids[bit.bit_length() - 1]
        self._members = {stride: bits & ~bit for stride, bits in self._members.items() if bits & ~bit}
        self._retired |= bit
        if self._retired.bit_count() >= _MAX_RETIRED:
            self._sweep()

    def store(self, worker_id: str, block_hashes: Iterable[bytes]) -> None:
        """The worker's cache holds these now."""
        bit = self._bits[worker_id]
        confirmed = self._confirmed
        for block_hash in block_hashes:
            confirmed[block_hash] = confirmed.pop(block_hash, 0) | bit
        while len(confirmed) > self._max_hashes:
            del confirmed[next(iter(confirmed))]

    def evict(self, worker_id: str, block_hashes: Iterable[bytes]) -> None:
        """The worker's cache no longer holds these."""
        bit = self._bits[worker_id]
        for block_hash in block_hashes:
            for known in (self._confirmed, self._expected, self._expected_before):
                bits = known.get(block_hash, 0)
                if bits & bit:
                    known[block_hash] = bits & ~bit
                    if bits == bit:
                        del known[block_hash]

    def expect(self, worker_id: str, block_hashes: Sequence[bytes]) -> None:
        """The worker's cache will soon hold these, if the route is followed."""
        bit = self._bits[worker_id]
        expected = self._expected
        for block_hash in block_hashes[: self._max_expected]:
            expected[block_hash] = expected.get(block_hash, 0) | bit

    def age(self, now_s: float) -> None:
        """Forget what was expected for long enough; call at least once per `expected_for_s`."""
        if now_s - self._aged_s >= self._expected_for_s:
            self._expected_before, self._expected = self._expected, {}
            self._aged_s = now_s

    def match(self, block_hashes: Sequence[bytes], *, is_confirmed: bool = False) -> Mapping[str, int]:
        """For each worker that holds a prefix of the prompt: how many leading tokens. `is_confirmed`: by the news of
        heartbeats alone, without what is only expected."""
        holders = self._confirmed_holders if is_confirmed else self._holders
        held: dict[str, int] = {}
        for stride, members in self._members.items():
            self._match_stride(block_hashes, stride, members, holders, held)
        return held

    def _match_stride(
        self,
        block_hashes: Sequence[bytes],
        stride: int,
        members: int,
        holders: Callable[[bytes], int],
        held: dict[str, int],
    ) -> None:
        alive, depth = members, 0
        for end in range(stride, len(block_hashes) + 1, stride):
            still = alive & holders(block_hashes[end - 1])
            if depth:
                self._record(alive & ~still, depth, held)
            if not still:
                return
            alive, depth = still, end
        if depth:
            self._record(alive, depth, held)

    def _confirmed_holders(self, block_hash: bytes) -> int:
        bits = self._confirmed.pop(block_hash, 0)
        if bits:
            self._confirmed[block_hash] = bits  # now the most recently used
        return bits

    def _holders(self, block_hash: bytes) -> int:
        bits = self._confirmed_holders(block_hash)
        return bits | self._expected.get(block_hash, 0) | self._expected_before.get(block_hash, 0)

    def _record(self, bits: int, depth: int, held: dict[str, int]) -> None:
        num_tokens, worker_ids = depth * HASH_BLOCK_TOKENS, self._worker_ids
        if bits.bit_count() > _FEW:  # a pass over all digits costs less than taking so many bits out one by one
            held.update((worker_ids[n], num_tokens) for n, digit in enumerate(f"{bits:b}"[::-1]) if digit == "1")
            return
        while bits:
            position = bits.bit_length() - 1
            held[worker_ids[position]] = num_tokens
            bits ^= 1 << position

    def _sweep(self) -> None:
        kept = ~self._retired
        for name in ("_confirmed", "_expected", "_expected_before"):
            known: dict[bytes, int] = getattr(self, name)
            setattr(self, name, {block_hash: bits & kept for block_hash, bits in known.items() if bits & kept})
        self._retired = 0
