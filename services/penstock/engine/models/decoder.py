"""The decoder of the Llama family: a plain loop over layers, on the flattened tokens of a step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from penstock.engine.attention.protocol import Attention
from penstock.engine.models.config import ModelConfig
from penstock.engine.models.linear import Linear
from penstock.engine.models.mlp import FeedForward
from penstock.engine.models.norm import RmsNorm

AfterLayer = Callable[[int], None]
"""Called at each layer boundary, once that layer's KV is written."""


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """Weights of one layer."""

    attention_norm: RmsNorm
    qkv: Linear
    qk_norm: RmsNorm | None  # of each query head and then each key head
    output: Linear
    mlp_norm: RmsNorm
    mlp: FeedForward


class Decoder:
    """All weights of a model and how they are run."""

    def __init__(
        self, config: ModelConfig, embedding: Tensor, layers: Sequence[DecoderLayer], norm: RmsNorm, head: Linear
    ) -> None:
        self.config = config
        self._embedding = embedding  # [vocab, hidden]
        self._layers = layers
        self._norm = norm
        self._head = head
        self._num_qk_heads = config.num_heads + config.num_kv_heads
        self._qkv_shape = (-1, config.num_heads + 2 * config.num_kv_heads, config.head_dim)

    @property
    def num_weights(self) -> int:
        """Of the products one token goes through, roughly."""
        config = self.config
        by_layer = config.hidden_size * (2 * self._num_qk_heads * config.head_dim + 3 * config.intermediate_size)
        return config.num_layers * by_layer + config.vocab_size * config.hidden_size

    @property
    def device(self) -> torch.device:
        return self._embedding.device

    def forward(self, token_ids: Tensor, attention: Attention, after_layer: AfterLayer) -> Tensor:
        """Run the current step of `attention`. token_ids: [num_tokens] -> hidden states [num_tokens, hidden]."""
        hidden = functional.embedding(token_ids, self._embedding)
        for index, layer in enumerate(self._layers):
            hidden = self._run_layer(index, layer, hidden, attention)
            after_layer(index)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """[num_rows, hidden] -> [num_rows, vocab] float32."""
        return self._head(self._norm(hidden)).float()

    def _run_layer(self, index: int, layer: DecoderLayer, hidden: Tensor, attention: Attention) -> Tensor:
        qkv = layer.qkv(layer.attention_norm(hidden)).view(self._qkv_shape)
        if layer.qk_norm is not None:
            layer.qk_norm.in_place(qkv[:, : self._num_qk_heads])
        query = attention.rotate_and_write(index, qkv)
        hidden = layer.output(attention.attend(index, query), hidden)
        return layer.mlp(layer.mlp_norm(hidden), hidden)
