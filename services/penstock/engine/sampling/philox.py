"""Random numbers as a function of (seed, position): Philox4x32-10, on the host.

A counter-based generator has no state to carry, so a token drawn alone, in a busy batch, by another worker or after a
resumption meets the same numbers. They are made on the host with numpy: for a batch that is a few dozen microseconds,
on a GPU it would be a hundred kernel launches, and the answer cannot depend on the device.

Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_NUM_ROUNDS = 10

Words = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]


def philox4x32(counter: Words, key: tuple[NDArray[np.uint64], NDArray[np.uint64]]) -> Words:
    """Ten rounds on many counters at once; every word is 32 bits held in a uint64."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_NUM_ROUNDS):
        product0, product1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (product1 >> _HALF) ^ c1 ^ k0,
            product1 & _LOW,
            (product0 >> _HALF) ^ c3 ^ k1,
            product0 & _LOW,
        )
        k0, k1 = (k0 + _KEY_STEPS[0]) & _LOW, (k1 + _KEY_STEPS[1]) & _LOW
    return c0, c1, c2, c3


def uniform_pairs(seeds: Sequence[int], positions: Sequence[int]) -> NDArray[np.float64]:
    """Two independent uniforms in [0, 1), of 53 bits each, per (seed, position) -> [n, 2]."""
    seed = np.array(seeds, dtype=np.uint64)
    position = np.array(positions, dtype=np.uint64)
    zero = np.zeros_like(seed)
    counter = (position & _LOW, position >> _HALF, zero, zero)
    w0, w1, w2, w3 = philox4x32(counter, (seed & _LOW, seed >> _HALF))
    words = np.stack(((w0 << _HALF) | w1, (w2 << _HALF) | w3), axis=-1)
    uniforms: NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniforms
