"""The built-in model's tokenizer: byte-level BPE, trained on what the generator says. Every digit is a token,
the first of a number together with the space before it: less lies between a key and its code."""

from collections.abc import Iterator
from random import Random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from penstock.engine.tiny.tokenizer import END_OF_TEXT, TURN_END, TURN_START
from penstock_loadgen.questions.tasks import TASKS

VOCAB_SIZE = 1024
VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END, VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD)  # ids 0 to 6
_DIALOGUES_PER_TASK = 400

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\n' -}}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}"
    "{%- else -%}{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' or 'image' in part or 'image_url' in part -%}"
    "{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}"
    "{%- elif part['type'] == 'video' or 'video' in part -%}"
    "{{- '<|vision_start|><|video_pad|><|vision_end|>' -}}"
    "{%- elif 'text' in part -%}{{- part['text'] -}}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{{- '<|im_end|>\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)
"""Qwen2.5-VL's, without the system message that it adds by itself: each token counts in a model this small."""


def train_tokenizer() -> Tokenizer:
    """The same tokenizer every time."""
    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Split(Regex(" ?[0-9]"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    return tokenizer


def _corpus() -> Iterator[str]:
    yield "system\nYou are a helpful assistant.\nuser\nassistant\n"
    for task, make in TASKS.items():
        for index in range(_DIALOGUES_PER_TASK // (40 if task == "recall_4k" else 1)):
            for turn in make(Random(f"tokenizer {task} {index}")).turns:
                yield from (part for part in turn.asked if isinstance(part, str))
                yield turn.answer
