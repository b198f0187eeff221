"""The decoder of the Llama family: a plain loop over layers, on the flattened tokens of a step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from penstock.engine.attention.protocol import MAX_KEPT_TOKENS, Attention
from penstock.engine.models.config import ModelConfig
from penstock.engine.models.linear import Linear
from penstock.engine.models.mlp import FeedForward
from penstock.engine.models.norm import RmsNorm
from penstock.engine.models.workspace import Workspace

AfterLayer = Callable[[int], bool]
"""Called at each layer boundary, once that layer's KV is written; True stops the pass there."""


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
        self._workspace = Workspace(config, 0, embedding)

    @property
    def num_weights(self) -> int:
        """Of the products one token goes through, roughly."""
        config = self.config
        num_qk_heads = config.num_heads + config.num_kv_heads
        by_layer = config.hidden_size * (2 * num_qk_heads * config.head_dim + 3 * config.intermediate_size)
        return config.num_layers * by_layer + config.vocab_size * config.hidden_size

    @property
    def device(self) -> torch.device:
        return self._embedding.device

    def embed(self, token_ids: Tensor) -> Tensor:
        """[num_tokens] -> hidden states [num_tokens, hidden] before the first layer."""
        return functional.embedding(token_ids, self._embedding)

    def run_layers(self, hidden: Tensor, attention: Attention, after_layer: AfterLayer, first: int = 0) -> Tensor:
        """Run the current step of `attention` from layer `first` on, on hidden states [num_tokens, hidden].

        Returned are those after the last layer, or after the one where `after_layer` stopped the pass.
        """
        workspace = self._workspace_for(hidden.shape[0])
        for index in range(first, len(self._layers)):
            hidden = _run_layer(index, self._layers[index], hidden, workspace, attention)
            if after_layer(index):
                break
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """[num_rows, hidden] -> [num_rows, vocab] float32."""
        return self._head(self._norm(hidden)).float()

    def _workspace_for(self, num_tokens: int) -> Workspace:
        """The last one again if the size is the same, as in most decodes; a large one is not held between steps."""
        if num_tokens == self._workspace.num_tokens:
            return self._workspace
        workspace = Workspace(self.config, num_tokens, self._embedding)
        if num_tokens <= MAX_KEPT_TOKENS:
            self._workspace = workspace
        return workspace


def _run_layer(index: int, layer: DecoderLayer, hidden: Tensor, workspace: Workspace, attention: Attention) -> Tensor:
    normed = workspace.normed
    layer.attention_norm.into(hidden, normed)
    layer.qkv.into(normed, workspace.flat_qkv)
    if layer.qk_norm is not None:
        layer.qk_norm.into(workspace.qk, workspace.qk)
    query = attention.rotate_and_write(index, workspace.qkv)
    hidden = layer.output.add_to(hidden, attention.attend(index, query))
    layer.mlp_norm.into(hidden, normed)
    return layer.mlp.add_to(hidden, normed, workspace)
