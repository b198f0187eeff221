"""Tokens to text must equal what `tokenizers` itself decodes, in pieces that are never half a character."""

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models

from penstock.core.errors import UnsupportedModel
from penstock.core.types import SampledToken
from penstock.gateway.text.token_bytes import token_bytes_function
from penstock.gateway.text.tokenizer import Tokenizer
from tests.gateway_fakes import byte_level_tokenizer, tiny_tokenizer, tokens_of

VOCAB_SIZE = byte_level_tokenizer().get_vocab_size()


def pieces_of(token_ids: list[int], tokenizer: Tokenizer, skip_special_tokens: bool = True) -> list[str]:
    detokenizer = tokenizer.detokenizer(skip_special_tokens)
    return [*(detokenizer.push((SampledToken(token_id),)) for token_id in token_ids), detokenizer.flush()]


@given(st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=40), st.booleans())
def test_any_tokens_decode_as_the_library_decodes_them(token_ids: list[int], skip_special_tokens: bool) -> None:
    expected = byte_level_tokenizer().decode(token_ids, skip_special_tokens=skip_special_tokens)
    assert "".join(pieces_of(token_ids, tiny_tokenizer(), skip_special_tokens)) == expected


@given(st.text(max_size=30), st.integers(1, 5))
def test_text_comes_back_whole_however_tokens_arrive_together(text: str, num_together: int) -> None:
    tokens = tokens_of(text)
    detokenizer = tiny_tokenizer().detokenizer(skip_special_tokens=False)
    pieces = [detokenizer.push(tokens[at : at + num_together]) for at in range(0, len(tokens), num_together)]
    assert "".join(pieces) == text
    assert "\ufffd" in text or not any("\ufffd" in piece for piece in pieces)
    assert detokenizer.flush() == ""


def test_half_a_character_waits_for_its_other_half() -> None:
    first, *rest = "🦊".encode()
    table = {byte: bytes([byte]) for byte in (first, *rest)}
    names = {byte: list(table).index(byte) for byte in table}
    detokenizer = type(tiny_tokenizer().detokenizer())(list(table.values()))
    shown = [detokenizer.push((SampledToken(names[byte]),)) for byte in "🦊".encode()]
    assert shown == ["", "", "", "🦊"]


def sentencepiece_tokenizer() -> tokenizers.Tokenizer:
    """As Llama 2's: byte fallback, ▁ for spaces."""
    vocab = {"<unk>": 0, "<s>": 1, "▁Hello": 2, "▁world": 3, "!": 4} | {f"<0x{b:02X}>": 5 + b for b in range(256)}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab, [], byte_fallback=True, unk_token="<unk>"))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def test_sentencepiece_output_keeps_its_first_space_since_it_continues_a_prompt() -> None:
    fox = [5 + byte for byte in "🦊".encode()]
    pieces = pieces_of([2, 3, *fox, 4], Tokenizer(sentencepiece_tokenizer(), None))
    assert pieces == [" Hello", " world", "", "", "", "🦊", "!", ""]


def test_a_token_beyond_the_vocabulary_of_a_wider_model_has_no_text() -> None:
    tokenizer = Tokenizer(byte_level_tokenizer(), None, vocab_size=VOCAB_SIZE + 8)
    assert pieces_of([VOCAB_SIZE + 7], tokenizer) == ["", ""]


@pytest.mark.parametrize("decoder", [None, {"type": "WordPiece"}, {"type": "Sequence", "decoders": [{"type": "CTC"}]}])
def test_a_decoder_nobody_checked_is_refused(decoder: dict[str, object] | None) -> None:
    with pytest.raises(UnsupportedModel, match="decoder"):
        token_bytes_function(decoder)
