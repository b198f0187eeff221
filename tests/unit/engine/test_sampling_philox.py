import numpy as np
import pytest

from penstock.engine.sampling.philox import philox4x32, uniform_pairs

# Known answers of Random123 (kat_vectors, philox4x32 10).
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_answers_as_published(counter: tuple[int, ...], key: tuple[int, ...], expected: tuple[int, ...]) -> None:
    c0, c1, c2, c3 = (np.array([word], dtype=np.uint64) for word in counter)
    k0, k1 = (np.array([word], dtype=np.uint64) for word in key)
    assert tuple(int(word[0]) for word in philox4x32((c0, c1, c2, c3), (k0, k1))) == expected


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    seeds, positions = [0, 5, 2**64 - 1, 5], [0, 1, 2**40, 2]
    together = uniform_pairs(seeds, positions)
    alone = [uniform_pairs([seed], [position])[0] for seed, position in zip(seeds, positions, strict=True)]
    assert np.array_equal(together, np.stack(alone))


@pytest.mark.parametrize("vary", ["seed", "position"])
def test_uniforms_are_uniform_and_uncorrelated(vary: str) -> None:
    n = 20_000
    seeds, positions = (list(range(n)), [3] * n) if vary == "seed" else ([3] * n, list(range(n)))
    pairs = uniform_pairs(seeds, positions)
    assert pairs.min() >= 0.0
    assert pairs.max() < 1.0
    counts, _, _ = np.histogram2d(pairs[:, 0], pairs[:, 1], bins=16, range=((0, 1), (0, 1)))
    expected = n / 256
    assert ((counts - expected) ** 2 / expected).sum() < 255 + 4 * (2 * 255) ** 0.5
    assert abs(np.corrcoef(pairs[:-1, 0], pairs[1:, 0])[0, 1]) < 4 / n**0.5
