"""Where the operations of a layer leave what the next one reads: one set of buffers for all layers of a step."""

from torch import Tensor

from penstock.engine.models.config import ModelConfig


class Workspace:
    """Buffers for steps of one number of tokens."""

    def __init__(self, config: ModelConfig, num_tokens: int, like: Tensor) -> None:
        """like: a tensor of the model's type and device."""
        num_heads = config.num_heads + 2 * config.num_kv_heads
        self.num_tokens = num_tokens
        self.normed = like.new_empty(num_tokens, config.hidden_size)
        self.qkv = like.new_empty(num_tokens, num_heads, config.head_dim)  # queries, keys, values
        self.flat_qkv = self.qkv.flatten(1)
        self.qk = self.qkv[:, : config.num_heads + config.num_kv_heads]
        has_dense_layers = not all(config.is_sparse(layer) for layer in range(config.num_layers))
        # sparse ones never read it
        self.gate_up = like.new_empty(num_tokens, 2 * config.intermediate_size if has_dense_layers else 0)
        self.gate, self.up = self.gate_up.chunk(2, dim=-1)
