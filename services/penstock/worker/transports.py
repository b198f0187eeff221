"""By which transports a worker moves what it moves, as its settings say."""

from penstock.runtime.settings import WorkerSettings
from penstock.transfer.policy import TCP, TransferPolicy


def transfer_policy(settings: WorkerSettings) -> TransferPolicy:
    """TCP counts only where it is allowed by name."""
    allowed = tuple(name for name in settings.transports if name != TCP or settings.allow_tcp)
    return TransferPolicy(allowed=allowed, host=settings.address.rpartition(":")[0])
