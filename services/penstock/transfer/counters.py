"""What a worker's transfers add up to, as plain numbers that its metrics export as penstock_transfer_*."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class TransportCounters:
    """Totals since start of one transport in one direction."""

    num_bytes: int = 0  # verified at the destination
    num_segments: int = 0
    num_resends: int = 0
    num_checksum_failures: int = 0
    num_refused: int = 0  # segments of unknown reservations, other incarnations, out of range
    num_failures: int = 0  # pushes that did not arrive whole
    seconds: float = 0.0  # spent in pushes that did


@dataclass(slots=True)
class TransferCounters:
    """By transport."""

    by_transport: dict[str, TransportCounters] = field(default_factory=dict)

    def of(self, transport: str) -> TransportCounters:
        return self.by_transport.setdefault(transport, TransportCounters())
