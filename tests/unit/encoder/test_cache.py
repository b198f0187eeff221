"""Embeddings kept by content, least recently used first to go."""

import numpy as np

from penstock.encoder.cache import EmbeddingCache


def rows(num_bytes: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.zeros((num_bytes // 4, 4), np.uint8)


def test_evicts_least_recently_used_image_first() -> None:
    cache = EmbeddingCache(100)
    for name in (b"a", b"b"):
        cache.put(name, rows(40))
    assert cache.get(b"a") is not None
    cache.put(b"c", rows(40))
    assert cache.get(b"b") is None
    assert cache.get(b"a") is not None
    assert cache.num_bytes == 80


def test_an_image_is_counted_once_and_one_that_is_too_large_not_at_all() -> None:
    cache = EmbeddingCache(100)
    cache.put(b"a", rows(40))
    cache.put(b"a", rows(40))
    cache.put(b"large", rows(104))
    assert (cache.num_bytes, cache.get(b"large")) == (40, None)
