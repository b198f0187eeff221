"""Messages of the control plane: our types to protobuf and back."""

from dataclasses import replace

from penstock.core.pools import RoleChange, RolesView, Steering
from penstock.core.types import Candidate, GatewayLoad, Role, RouteQuery, RoutingDecision, WorkerState
from penstock.wire.codec import core_types
from penstock.wire.messages import (
    HeartbeatRequest,
    HeartbeatResponse,
    JoinRequest,
    JoinResponse,
    MembershipView,
    RegisterRequest,
    RegisterResponse,
    RouteAnswer,
    RouteCalls,
    RouteEvents,
)
from penstock.wire.v1 import scheduler_pb2 as pb


def state_to_wire(state: WorkerState) -> pb.WorkerReport:
    return pb.WorkerReport(
        worker=core_types.worker_to_wire(state.ref),
        role=state.role,
        group=state.group,
        model=state.model,
        revision=state.revision,
        metrics_address=state.metrics_address,
        block_size_tokens=state.block_size,
        num_blocks=state.num_blocks,
        num_free_blocks=state.num_free_blocks,
        num_waiting=state.num_waiting,
        num_running=state.num_running,
        num_decoding=state.num_decoding,
        max_num_sequences=state.max_num_sequences,
        num_prefill_tokens=state.num_prefill_tokens,
        num_context_tokens=state.num_context_tokens,
        prefill_base_s=state.prefill_base_s,
        prefill_s_per_token=state.prefill_s_per_token,
        token_interval_s=state.token_interval_s,
        is_draining=state.is_draining,
        transports=[pb.PeerTransport(worker_id=peer, transport=name) for peer, name in state.transports],
        version=state.version,
        encodes_images=state.encodes_images,
    )


def state_from_wire(message: pb.WorkerReport) -> WorkerState:
    """A worker's own report: `heartbeat_s` is left for the receiver to set."""
    return WorkerState(
        ref=core_types.worker_from_wire(message.worker),
        role=Role(message.role),
        group=message.group,
        model=message.model,
        revision=message.revision,
        metrics_address=message.metrics_address,
        block_size=message.block_size_tokens,
        num_blocks=message.num_blocks,
        num_free_blocks=message.num_free_blocks,
        num_waiting=message.num_waiting,
        num_running=message.num_running,
        num_decoding=message.num_decoding,
        max_num_sequences=message.max_num_sequences,
        num_prefill_tokens=message.num_prefill_tokens,
        num_context_tokens=message.num_context_tokens,
        prefill_base_s=message.prefill_base_s,
        prefill_s_per_token=message.prefill_s_per_token,
        token_interval_s=message.token_interval_s,
        is_draining=message.is_draining,
        transports=tuple((entry.worker_id, entry.transport) for entry in message.transports),
        version=message.version,
        encodes_images=message.encodes_images,
    )


def register_to_wire(request: RegisterRequest) -> pb.RegisterRequest:
    return pb.RegisterRequest(report=state_to_wire(request.state))


def register_from_wire(message: pb.RegisterRequest) -> RegisterRequest:
    return RegisterRequest(state_from_wire(message.report))


def registered_to_wire(response: RegisterResponse) -> pb.RegisterResponse:
    return pb.RegisterResponse(
        router_address=response.router_address, heartbeat_interval_s=response.heartbeat_interval_s
    )


def registered_from_wire(message: pb.RegisterResponse) -> RegisterResponse:
    return RegisterResponse(message.router_address, message.heartbeat_interval_s)


def join_to_wire(request: JoinRequest) -> pb.JoinRequest:
    return pb.JoinRequest(gateway_id=request.gateway_id)


def join_from_wire(message: pb.JoinRequest) -> JoinRequest:
    return JoinRequest(message.gateway_id)


def joined_to_wire(response: JoinResponse) -> pb.JoinResponse:
    return pb.JoinResponse(
        groups=[pb.Group(name=name, router_address=address) for name, address in response.router_addresses],
        metrics_addresses=response.metrics_addresses,
    )


def joined_from_wire(message: pb.JoinResponse) -> JoinResponse:
    groups = tuple((group.name, group.router_address) for group in message.groups)
    return JoinResponse(groups, tuple(message.metrics_addresses))


def heartbeat_to_wire(request: HeartbeatRequest) -> pb.HeartbeatRequest:
    return pb.HeartbeatRequest(
        report=state_to_wire(request.state),
        stored_hashes=core_types.hashes_to_wire(request.stored_hashes),
        evicted_hashes=core_types.hashes_to_wire(request.evicted_hashes),
        is_full=request.is_full,
    )


def heartbeat_from_wire(message: pb.HeartbeatRequest) -> HeartbeatRequest:
    return HeartbeatRequest(
        state=state_from_wire(message.report),
        stored_hashes=core_types.hashes_from_wire(message.stored_hashes),
        evicted_hashes=core_types.hashes_from_wire(message.evicted_hashes),
        is_full=message.is_full,
    )


def heard_to_wire(response: HeartbeatResponse) -> pb.HeartbeatResponse:
    return pb.HeartbeatResponse(is_known=response.is_known)


def heard_from_wire(message: pb.HeartbeatResponse) -> HeartbeatResponse:
    return HeartbeatResponse(message.is_known)


def route_calls_to_wire(calls: RouteCalls) -> pb.RouteCalls:
    return pb.RouteCalls(
        hello=core_types.hello_to_wire(calls.hello),
        load=_load_to_wire(calls.load) if calls.load else None,
        queries=[
            pb.RouteQuery(
                request_id=query.request_id,
                num_tokens=query.num_tokens,
                max_tokens=query.max_tokens,
                block_hashes=core_types.hashes_to_wire(query.block_hashes),
                excluded_worker_ids=sorted(query.excluded_worker_ids),
                traceparent=query.traceparent,
                image_patches=query.image_patches,
            )
            for query in calls.queries
        ],
    )


def route_calls_from_wire(message: pb.RouteCalls) -> RouteCalls:
    return RouteCalls(
        hello=core_types.hello_from_wire(message.hello) if message.HasField("hello") else None,
        load=_load_from_wire(message.load) if message.HasField("load") else None,
        queries=tuple(
            RouteQuery(
                request_id=query.request_id,
                num_tokens=query.num_tokens,
                max_tokens=query.max_tokens,
                block_hashes=core_types.hashes_from_wire(query.block_hashes),
                excluded_worker_ids=frozenset(query.excluded_worker_ids),
                traceparent=query.traceparent,
                image_patches=tuple(query.image_patches),
            )
            for query in message.queries
        ),
    )


def route_events_to_wire(events: RouteEvents, now_s: float) -> pb.RouteEvents:
    view = events.membership
    return pb.RouteEvents(
        answers=[_answer_to_wire(answer) for answer in events.answers],
        membership=_view_to_wire(view, now_s) if view else None,
    )


def route_events_from_wire(message: pb.RouteEvents, now_s: float) -> RouteEvents:
    return RouteEvents(
        answers=tuple(_answer_from_wire(answer) for answer in message.answers),
        membership=_view_from_wire(message.membership, now_s) if message.HasField("membership") else None,
    )


def _view_to_wire(view: MembershipView, now_s: float) -> pb.MembershipView:
    message = pb.MembershipView(group=view.group, steering=view.roles.steering)
    for change in view.roles.changes:
        ago_s = now_s - change.at_s
        message.role_changes.add(
            ago_s=ago_s, subject=change.subject, change=change.change, reason=change.reason, outcome=change.outcome
        )
    for state in view.workers:
        report = state_to_wire(state)
        report.heartbeat_ago_s = now_s - state.heartbeat_s
        message.workers.append(report)
    return message


def _view_from_wire(message: pb.MembershipView, now_s: float) -> MembershipView:
    workers = [
        replace(state_from_wire(report), heartbeat_s=now_s - report.heartbeat_ago_s) for report in message.workers
    ]
    changes = tuple(
        RoleChange(now_s - change.ago_s, change.subject, change.change, change.reason, change.outcome)
        for change in message.role_changes
    )
    return MembershipView(message.group, tuple(workers), roles=RolesView(Steering(message.steering), changes))


def _load_to_wire(load: GatewayLoad) -> pb.GatewayLoad:
    return pb.GatewayLoad(
        num_waiting=load.num_waiting,
        num_arrived=load.num_arrived,
        num_prompt_tokens=load.num_prompt_tokens,
        num_finished=load.num_finished,
        num_output_tokens=load.num_output_tokens,
        ttft_sum_s=load.ttft_sum_s,
        e2e_sum_s=load.e2e_sum_s,
    )


def _load_from_wire(message: pb.GatewayLoad) -> GatewayLoad:
    return GatewayLoad(
        num_waiting=message.num_waiting,
        num_arrived=message.num_arrived,
        num_prompt_tokens=message.num_prompt_tokens,
        num_finished=message.num_finished,
        num_output_tokens=message.num_output_tokens,
        ttft_sum_s=message.ttft_sum_s,
        e2e_sum_s=message.e2e_sum_s,
    )


def _answer_to_wire(answer: RouteAnswer) -> pb.RouteAnswer:
    message = pb.RouteAnswer(request_id=answer.request_id)
    if answer.error:
        message.failure.CopyFrom(core_types.failure_to_wire(answer.error))
    if answer.decision:
        message.prefill.extend(_candidate_to_wire(candidate) for candidate in answer.decision.prefill)
        message.decode.extend(_candidate_to_wire(candidate) for candidate in answer.decision.decode)
        message.disaggregate = answer.decision.disaggregate
        message.encoders.extend(_candidate_to_wire(candidate) for candidate in answer.decision.encoders)
    return message


def _answer_from_wire(message: pb.RouteAnswer) -> RouteAnswer:
    if message.HasField("failure"):
        return RouteAnswer(message.request_id, error=core_types.failure_from_wire(message.failure))
    decision = RoutingDecision(
        prefill=tuple(_candidate_from_wire(candidate) for candidate in message.prefill),
        decode=tuple(_candidate_from_wire(candidate) for candidate in message.decode),
        disaggregate=message.disaggregate,
        encoders=tuple(_candidate_from_wire(candidate) for candidate in message.encoders),
    )
    return RouteAnswer(message.request_id, decision=decision)


def _candidate_to_wire(candidate: Candidate) -> pb.Candidate:
    return pb.Candidate(
        worker=core_types.worker_to_wire(candidate.ref),
        predicted_s=candidate.predicted_s,
        num_cached_tokens=candidate.num_cached_tokens,
    )


def _candidate_from_wire(message: pb.Candidate) -> Candidate:
    return Candidate(core_types.worker_from_wire(message.worker), message.predicted_s, message.num_cached_tokens)
