"""What a gateway counts and traces with."""

from dataclasses import dataclass

from penstock.gateway.metrics import GatewayMetrics
from penstock.runtime.tracing import OFF, Tracer


@dataclass(frozen=True, slots=True)
class Watch:
    """Passed to whoever sees something worth telling."""

    metrics: GatewayMetrics
    tracer: Tracer = OFF
