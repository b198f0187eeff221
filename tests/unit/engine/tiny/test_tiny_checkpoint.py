import json
import string
from pathlib import Path

import jinja2
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from penstock.engine.tiny.checkpoint import make_tiny_checkpoint
from penstock.engine.tiny.tokenizer import VOCAB_SIZE


def test_the_same_bytes_are_made_every_time(tmp_path: Path) -> None:
    first, second = make_tiny_checkpoint(tmp_path / "a"), make_tiny_checkpoint(tmp_path / "b")
    names = sorted(path.name for path in first.iterdir())
    assert names == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def test_any_text_survives_the_tokenizer(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(make_tiny_checkpoint(tmp_path) / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == VOCAB_SIZE
    for text in ("Hello, world!", "Größe 😀 水\n\n\tx", string.printable):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_the_chat_template_makes_single_tokens_of_turns(tmp_path: Path) -> None:
    folder = make_tiny_checkpoint(tmp_path)
    template = json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]
    messages = [{"role": "user", "content": "Hi"}]
    text = jinja2.Template(template).render(messages=messages, add_generation_prompt=True)
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids
    assert ids.count(1) == 2 and ids.count(2) == 1


def test_only_printable_text_can_win(tmp_path: Path) -> None:
    folder = make_tiny_checkpoint(tmp_path)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    head = load_file(folder / "model.safetensors")["lm_head.weight"]
    for token_id, row in enumerate(head):
        text = tokenizer.decode([token_id], skip_special_tokens=True).replace("\n", " ")
        assert row.any() == (bool(text) and text.isascii() and text.isprintable())
