"""The bytes each token stands for, read once from a tokenizer's vocabulary, so that text needs no decoder per token.

A decoder of tokenizer.json is a list of steps; those in use by Llama, Mistral, Mixtral and Qwen work token by token:

    ByteLevel            every character of the token names one byte           (Llama 3, Qwen, GPT-2)
    Replace ▁ by " "     SentencePiece's spaces                                (Llama 2, Mistral)
    ByteFallback         the token <0xE2> is the byte E2
    Fuse                 joins tokens: nothing to do for one
    Strip 1 at start     one space at the beginning of a *whole* text. Output continues a prompt, so it keeps its space.
    Metaspace            Replace and Strip in one
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penstock.core.errors import UnsupportedModel

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_of_character() -> dict[str, int]:
    """GPT-2's table: printable bytes stand for themselves, the others for characters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in set(printable)]
    return table | {chr(0x100 + index): byte for index, byte in enumerate(others)}


_BYTE_OF_CHARACTER = _byte_of_character()


def _byte_level(token: str) -> bytes:
    try:
        return bytes([_BYTE_OF_CHARACTER[character] for character in token])
    except KeyError:  # an added token with a character outside the table stands for itself
        return token.encode()


def _replaced(old: str, new: str) -> Callable[[str], bytes]:
    def to_bytes(token: str) -> bytes:
        byte = _BYTE_TOKEN.fullmatch(token)
        return bytes([int(byte[1], 16)]) if byte else token.replace(old, new).encode()

    return to_bytes


def token_bytes_function(decoder: Mapping[str, Any] | None) -> Callable[[str], bytes]:
    """How one token becomes bytes under the `decoder` section of a tokenizer.json."""
    steps = _steps(decoder)
    kinds = {step["type"] for step in steps}
    if kinds == {"ByteLevel"}:
        return _byte_level
    if unknown := kinds - {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}:
        raise UnsupportedModel(
            f"The tokenizer's decoder {', '.join(sorted(unknown))} is not supported; "
            "byte-level and SentencePiece tokenizers with byte fallback are."
        )
    for step in steps:
        if step["type"] == "Metaspace":
            return _replaced(step["replacement"], " ")
        if step["type"] == "Replace" and "String" in step["pattern"]:
            return _replaced(step["pattern"]["String"], step["content"])
    raise UnsupportedModel("The tokenizer.json names no decoder that turns tokens into text.")


def _steps(decoder: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    if decoder is None:
        return ()
    if decoder["type"] != "Sequence":
        return (decoder,)
    return [step for child in decoder["decoders"] for step in _steps(child)]
