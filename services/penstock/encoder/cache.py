"""Embeddings kept in host memory, by the content of their images: the same image is encoded once."""

from collections import OrderedDict

from penstock.transfer.memory import Bytes


class EmbeddingCache:
    """The least recently used go first when `max_bytes` are exceeded."""

    def __init__(self, max_bytes: int) -> None:
        self.num_bytes = 0
        self._max_bytes = max_bytes
        self._rows: OrderedDict[bytes, Bytes] = OrderedDict()

    def get(self, content_hash: bytes) -> Bytes | None:
        rows = self._rows.get(content_hash)
        if rows is not None:
            self._rows.move_to_end(content_hash)
        return rows

    def put(self, content_hash: bytes, rows: Bytes) -> None:
        """Nothing is kept that alone exceeds the limit."""
        if content_hash in self._rows or rows.nbytes > self._max_bytes:
            return
        self._rows[content_hash] = rows
        self.num_bytes += rows.nbytes
        while self.num_bytes > self._max_bytes:
            _, oldest = self._rows.popitem(last=False)
            self.num_bytes -= oldest.nbytes
