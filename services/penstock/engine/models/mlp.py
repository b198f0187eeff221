"""Feed-forward layers: dense, and a mixture of experts."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from penstock.engine.models.linear import Linear
from penstock.engine.models.workspace import Workspace


class FeedForward(Protocol):
    """The second half of a decoder layer."""

    def add_to(self, residual: Tensor, x: Tensor, workspace: Workspace) -> Tensor:
        """x: [num_tokens, hidden], normalised; returns residual + f(x), as Linear.add_to does."""
        ...


class DenseMlp:
    """SwiGLU with gate and up projections fused into one product."""

    def __init__(self, gate_up: Linear, down: Linear) -> None:
        self._gate_up = gate_up
        self._down = down

    def __call__(self, x: Tensor) -> Tensor:
        """f(x), for any number of tokens."""
        gate, up = self._gate_up(x).chunk(2, dim=-1)
        return self._down(functional.silu(gate).mul_(up))

    def add_to(self, residual: Tensor, x: Tensor, workspace: Workspace) -> Tensor:
        self._gate_up.into(x, workspace.gate_up)
        return self._down.add_to(residual, functional.silu(workspace.gate, inplace=True).mul_(workspace.up))


class SparseMlp:
    """Each token goes through its few best experts; the tokens of one expert are one product."""

    def __init__(self, router: Linear, experts: Sequence[DenseMlp], num_per_token: int, normalizes: bool) -> None:
        self._router = router
        self._experts = experts
        self._num_per_token = num_per_token
        self._normalizes = normalizes

    def add_to(self, residual: Tensor, x: Tensor, workspace: Workspace) -> Tensor:
        probabilities = torch.softmax(self._router(x), dim=-1, dtype=torch.float32)
        weights, chosen = torch.topk(probabilities, self._num_per_token, dim=-1)  # [num_tokens, num_per_token]
        if self._normalizes:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        outputs = self._run_experts(x, chosen)  # [num_tokens, num_per_token, hidden]
        return residual.add_((outputs * weights.to(x.dtype).unsqueeze(-1)).sum(dim=1))

    def _run_experts(self, x: Tensor, chosen: Tensor) -> Tensor:
        """Sort the (token, choice) pairs by expert, run each expert on its run of them, put the results back."""
        order = chosen.flatten().argsort(stable=True)
        counts = torch.bincount(chosen.flatten(), minlength=len(self._experts)).tolist()
        runs = x[order // self._num_per_token].split(counts)
        outputs = [expert(run) for expert, run in zip(self._experts, runs, strict=True) if run.shape[0]]
        by_choice = torch.empty(order.shape[0], x.shape[1], dtype=x.dtype, device=x.device)
        by_choice[order] = torch.cat(outputs)
        return by_choice.view(*chosen.shape, -1)
