"""A plan as values of the Helm chart: its list of pools."""

from typing import Any

import yaml

from penstock.core.types import Role
from penstock.simulator.placement.layout import PoolChoice
from penstock.simulator.placement.plan import Plan


def helm_values(plan: Plan) -> str:
    """YAML that `helm install -f` takes; empty pools when there is no answer."""
    pools = plan.answer.layout.pools if plan.answer else ()
    return yaml.safe_dump({"pools": [_pool(plan, pool) for pool in pools]}, sort_keys=False)


def _pool(plan: Plan, pool: PoolChoice) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": pool.role.value,
        "role": pool.role.value,
        "replicas": pool.count,
        "gpu": {"count": pool.parallelism.num_gpus, "type": plan.question.cost.gpu},
        "parallelism": {"tensor": pool.parallelism.tensor, "pipeline": pool.parallelism.pipeline},
    }
    if pool.role is not Role.ENCODER:  # whose steps hold images, not tokens of sequences
        values["settings"] = {"maxBatchTokens": pool.max_step_tokens, "maxNumSequences": pool.max_sequences}
    return values
