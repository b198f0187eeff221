"""How long KV is on its way: bandwidth, a cost per operation, and one port per direction at each worker.

    T = num_operations * operation_s + bytes / bandwidth        (P/D-Serve, arXiv 2408.08147, block-free transfer)

A piece (some layers of some tokens) waits until the sender's and the receiver's port are free; pieces are served in the
order they are handed in. A contiguous piece costs two operations (K and V) per layer, as if its blocks lay in one run
at both ends; per-block transfer costs two per layer and block.
"""

from dataclasses import dataclass
from itertools import pairwise

from penstock.core.kv_layout import KvLayout


@dataclass(frozen=True, slots=True)
class TransferCosts:
    """One worker's network port. Defaults: a 400 Gbit/s NIC at 80 %, and aiconfigurator's P2P latency per operation."""

    bandwidth_bytes_per_s: float = 40e9
    operation_s: float = 1e-5
    num_layer_groups: int = 4  # pieces a step's KV is pushed in, while its later layers still compute
    is_contiguous: bool = True


@dataclass(slots=True)
class Port:
    """When each direction of a worker's network port is free again."""

    egress_free_s: float = 0.0
    ingress_free_s: float = 0.0


@dataclass(slots=True)
class TransferTotals:
    """Everything pushed, including what was lost with a receiver and pushed again."""

    num_bytes: int = 0
    num_operations: int = 0
    busy_s: float = 0.0


class Network:
    """Moves pieces between ports. `layout` is the KV of one whole worker."""

    def __init__(self, layout: KvLayout, costs: TransferCosts) -> None:
        self.costs = costs
        self.totals = TransferTotals()
        self._layout = layout

    def push(self, sender: Port, receiver: Port, num_layers: int, num_tokens: int, now_s: float) -> float:
        """Hand in one piece; returns when its last byte arrives."""
        num_bytes = num_tokens * num_layers * 2 * self._layout.slot_bytes
        num_blocks = 1 if self.costs.is_contiguous else -(-num_tokens // self._layout.block_size)
        return self._push(sender, receiver, num_bytes, 2 * num_layers * num_blocks, now_s)

    def _push(self, sender: Port, receiver: Port, num_bytes: int, num_operations: int, now_s: float) -> float:
        duration_s = num_operations * self.costs.operation_s + num_bytes / self.costs.bandwidth_bytes_per_s
        end_s = max(now_s, sender.egress_free_s, receiver.ingress_free_s) + duration_s
        sender.egress_free_s = receiver.ingress_free_s = end_s
        self.totals.num_bytes += num_bytes
        self.totals.num_operations += num_operations
        self.totals.busy_s += duration_s
        return end_s

    @property
    def token_bytes(self) -> int:
        """KV of one token, all layers."""
        return self._layout.token_bytes

    def push_all(self, sender: Port, receiver: Port, num_tokens: int, now_s: float) -> float:
        """Hand in every layer of `num_tokens` as one piece; returns when its last byte arrives."""
        return self.push(sender, receiver, self._layout.num_layers, num_tokens, now_s)

    def push_bytes(self, sender: Port, receiver: Port, num_bytes: int, now_s: float) -> float:
        """Hand in something else than KV, in one operation; returns when its last byte arrives."""
        return self._push(sender, receiver, num_bytes, 1, now_s)

    def layer_groups(self) -> list[range]:
        """The layers of a model in as many pieces as costs say, as even as they come."""
        num_layers = self._layout.num_layers
        num_groups = min(self.costs.num_layer_groups, num_layers)
        bounds = [num_layers * index // num_groups for index in range(num_groups + 1)]
        return [range(begin, end) for begin, end in pairwise(bounds)]
