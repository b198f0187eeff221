"""The RPCs that move capacity, as typed callables: Control of a router, Pools of a machine, Worker of a worker."""

import grpc

from penstock.wire import control_messages as m
from penstock.wire.codec import control, worker
from penstock.wire.method import Method, UnaryHandler, add_service
from penstock.wire.v1 import control_pb2, worker_pb2

CONTROL_SCALE: Method[m.ScaleRequest, m.ScaleResponse] = Method(
    "Control",
    "Scale",
    control.scale_to_wire,
    lambda data: control.scale_from_wire(control_pb2.ScaleRequest.FromString(data)),
    control.scaled_to_wire,
    lambda data: control.scaled_from_wire(control_pb2.ScaleResponse.FromString(data)),
)
CONTROL_FLIP: Method[m.FlipOrderRequest, m.FlipResponse] = Method(
    "Control",
    "Flip",
    control.flip_to_wire,
    lambda data: control.flip_from_wire(control_pb2.FlipOrderRequest.FromString(data)),
    control.flipped_to_wire,
    lambda data: control.flipped_from_wire(control_pb2.FlipOrderResponse.FromString(data)),
)
CONTROL_STEER: Method[m.SteerRequest, m.SteerResponse] = Method(
    "Control",
    "Steer",
    control.steer_to_wire,
    lambda data: control.steer_from_wire(control_pb2.SteerRequest.FromString(data)),
    control.steered_to_wire,
    lambda data: control.steered_from_wire(control_pb2.SteerResponse.FromString(data)),
)
CONTROL_ROLLOUT: Method[m.RolloutRequest, m.RolloutResponse] = Method(
    "Control",
    "Rollout",
    control.rollout_to_wire,
    lambda data: control.rollout_from_wire(control_pb2.RolloutRequest.FromString(data)),
    control.rolled_to_wire,
    lambda data: control.rolled_from_wire(control_pb2.RolloutResponse.FromString(data)),
)
POOLS_GROW: Method[m.GrowRequest, m.GrowResponse] = Method(
    "Pools",
    "Grow",
    control.grow_to_wire,
    lambda data: control.grow_from_wire(control_pb2.GrowRequest.FromString(data)),
    control.grown_to_wire,
    lambda data: control.grown_from_wire(control_pb2.GrowResponse.FromString(data)),
)
POOLS_SHRINK: Method[m.ShrinkRequest, m.ShrinkResponse] = Method(
    "Pools",
    "Shrink",
    control.shrink_to_wire,
    lambda data: control.shrink_from_wire(control_pb2.ShrinkRequest.FromString(data)),
    control.shrunk_to_wire,
    lambda data: control.shrunk_from_wire(control_pb2.ShrinkResponse.FromString(data)),
)
POOLS_RESTART: Method[m.RestartRequest, m.RestartResponse] = Method(
    "Pools",
    "Restart",
    control.restart_to_wire,
    lambda data: control.restart_from_wire(control_pb2.RestartRequest.FromString(data)),
    control.restarted_to_wire,
    lambda data: control.restarted_from_wire(control_pb2.RestartResponse.FromString(data)),
)
WORKER_DRAIN: Method[m.DrainRequest, m.DrainResponse] = Method(
    "Worker",
    "Drain",
    worker.drain_to_wire,
    lambda data: worker.drain_from_wire(worker_pb2.DrainRequest.FromString(data)),
    worker.drained_to_wire,
    lambda data: worker.drained_from_wire(worker_pb2.DrainResponse.FromString(data)),
)
WORKER_FLIP: Method[m.FlipRequest, m.FlipResponse] = Method(
    "Worker",
    "Flip",
    worker.flip_to_wire,
    lambda data: worker.flip_from_wire(worker_pb2.FlipRequest.FromString(data)),
    worker.flipped_to_wire,
    lambda data: worker.flipped_from_wire(worker_pb2.FlipResponse.FromString(data)),
)
WORKER_HOLDINGS: Method[m.HoldingsRequest, m.Holdings] = Method(
    "Worker",
    "Holdings",
    worker.ask_holdings_to_wire,
    lambda data: worker.ask_holdings_from_wire(worker_pb2.HoldingsRequest.FromString(data)),
    worker.holdings_to_wire,
    lambda data: worker.holdings_from_wire(worker_pb2.HoldingsResponse.FromString(data)),
)


def add_control(
    server: grpc.aio.Server,
    scale: UnaryHandler[m.ScaleRequest, m.ScaleResponse],
    flip: UnaryHandler[m.FlipOrderRequest, m.FlipResponse],
    steer: UnaryHandler[m.SteerRequest, m.SteerResponse],
    rollout: UnaryHandler[m.RolloutRequest, m.RolloutResponse],
) -> None:
    add_service(
        server,
        "Control",
        CONTROL_SCALE.unary_handler(scale),
        CONTROL_FLIP.unary_handler(flip),
        CONTROL_STEER.unary_handler(steer),
        CONTROL_ROLLOUT.unary_handler(rollout),
    )


def add_pools(
    server: grpc.aio.Server,
    grow: UnaryHandler[m.GrowRequest, m.GrowResponse],
    shrink: UnaryHandler[m.ShrinkRequest, m.ShrinkResponse],
    restart: UnaryHandler[m.RestartRequest, m.RestartResponse],
) -> None:
    add_service(
        server,
        "Pools",
        POOLS_GROW.unary_handler(grow),
        POOLS_SHRINK.unary_handler(shrink),
        POOLS_RESTART.unary_handler(restart),
    )


def add_worker(
    server: grpc.aio.Server,
    drain: UnaryHandler[m.DrainRequest, m.DrainResponse],
    flip: UnaryHandler[m.FlipRequest, m.FlipResponse],
    holdings: UnaryHandler[m.HoldingsRequest, m.Holdings],
) -> None:
    add_service(
        server,
        "Worker",
        WORKER_DRAIN.unary_handler(drain),
        WORKER_FLIP.unary_handler(flip),
        WORKER_HOLDINGS.unary_handler(holdings),
    )
