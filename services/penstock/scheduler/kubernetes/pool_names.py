"""Which Deployment is which pool: said once in settings, since the scheduler may neither list nor read Deployments.

    GROUP/ROLE/DEPLOYMENT      default/prefill/penstock-prefill, default/decode/penstock-decode-h200

A worker is named after its pod, and a pod after its Deployment: penstock-prefill-6d4cf56db6-x2x7k.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from penstock.core.errors import ChangeRefused, InvalidSettings
from penstock.core.types import Role

_POD_SUFFIX = r"-[a-z0-9]+-[a-z0-9]+"  # of its ReplicaSet, then its own


@dataclass(frozen=True, slots=True)
class Pool:
    """One pool of one group."""

    role: Role
    deployment: str


class PoolNames:
    """The pools of one group, in the order in which they are to grow."""

    def __init__(self, pools: Iterable[Pool]) -> None:
        self._pools = tuple(pools)

    def of_role(self, role: Role) -> str:
        """The Deployment that grows when a role needs more workers: its first."""
        for pool in self._pools:
            if pool.role is role:
                return pool.deployment
        known = ", ".join(sorted({pool.role.value for pool in self._pools})) or "none"
        raise ChangeRefused(f"There is no pool of {role.value} workers to grow; there are pools of: {known}.")

    def of_worker(self, worker_id: str) -> str:
        """The Deployment that a worker belongs to, whatever its role is by now."""
        for pool in self._pools:
            if re.fullmatch(re.escape(pool.deployment) + _POD_SUFFIX, worker_id):
                return pool.deployment
        raise ChangeRefused(f"'{worker_id}' is no pod of this group's pools.")


def parse(texts: Iterable[str], group: str) -> PoolNames:
    """The pools of a group among GROUP/ROLE/DEPLOYMENT entries."""
    pools = []
    for text in texts:
        parts = text.split("/")
        if len(parts) != 3 or not all(parts) or parts[1] not in set(Role):
            reason = f"must be GROUP/ROLE/DEPLOYMENT with a role of {', '.join(Role)}"
            raise InvalidSettings("kubernetes_pools", text, reason)
        if parts[0] == group:
            pools.append(Pool(Role(parts[1]), parts[2]))
    return PoolNames(pools)
