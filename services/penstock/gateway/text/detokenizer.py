"""Tokens to text, a few at a time, never half a character.

Life of a request: step 9, for every token; so it is a table look-up and one C call.
"""

from codecs import utf_8_decode
from collections.abc import Sequence

from penstock.core.types import SampledToken


class Detokenizer:
    """Text of one sequence. Bytes that do not yet make a character wait for those that complete it.

    Bytes that can never become a character turn into U+FFFD as soon as that is certain, as `tokenizers` decodes them.
    """

    __slots__ = ("_pending", "_table")

    def __init__(self, table: Sequence[bytes]) -> None:
        self._table = table  # bytes by token id
        self._pending = b""

    def push(self, tokens: Sequence[SampledToken]) -> str:
        """The text that `tokens` complete; may be empty."""
        table = self._table
        data = table[tokens[0].token_id] if len(tokens) == 1 else b"".join([table[token.token_id] for token in tokens])
        if self._pending:
            data = self._pending + data
        text, num_used_bytes = utf_8_decode(data, "replace", False)
        self._pending = data[num_used_bytes:]
        return text

    def flush(self) -> str:
        """U+FFFD for a character that the end of the sequence cut in half, else nothing."""
        text, _ = utf_8_decode(self._pending, "replace", True)
        self._pending = b""
        return text
