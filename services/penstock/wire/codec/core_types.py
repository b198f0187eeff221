"""Protobuf to our types and back, for what several services share.

A field named `..._in_s` or `..._ago_s` is a distance from now, so that the clocks of two hosts need not agree.
"""

from collections.abc import Iterable, Sequence

from penstock.core.blocks import HASH_BYTES
from penstock.core.errors import WIRE_ERRORS, InternalError, PenstockError
from penstock.core.images import ImageSpan
from penstock.core.kv_layout import KvLayout, TransferEndpoint
from penstock.core.types import FinishReason, Request, SamplingParams, TokenLogprobs, WorkerRef
from penstock.wire.messages import Hello, StageSpan
from penstock.wire.v1 import common_pb2 as pb


def hello_to_wire(hello: Hello | None) -> pb.Hello | None:
    if hello is None:
        return None
    return pb.Hello(
        caller_id=hello.caller_id,
        caller_incarnation=hello.caller_incarnation,
        callee_incarnation=hello.callee_incarnation,
    )


def hello_from_wire(message: pb.Hello) -> Hello:
    return Hello(message.caller_id, message.caller_incarnation, message.callee_incarnation)


def worker_to_wire(ref: WorkerRef) -> pb.WorkerRef:
    return pb.WorkerRef(worker_id=ref.worker_id, incarnation=ref.incarnation, address=ref.address)


def worker_from_wire(message: pb.WorkerRef) -> WorkerRef:
    return WorkerRef(message.worker_id, message.incarnation, message.address)


def failure_to_wire(error: PenstockError) -> pb.Failure:
    return pb.Failure(code=error.code, message=error.message)


def failure_from_wire(message: pb.Failure) -> PenstockError:
    return WIRE_ERRORS.get(message.code, InternalError)(message.message)


def hashes_to_wire(hashes: Sequence[bytes]) -> bytes:
    return b"".join(hashes)


def hashes_from_wire(packed: bytes) -> tuple[bytes, ...]:
    return tuple(packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES))


def spans_to_wire(spans: Iterable[StageSpan]) -> list[pb.StageSpan]:
    return [pb.StageSpan(stage=s.stage, began_ago_s=s.began_ago_s, ended_ago_s=s.ended_ago_s) for s in spans]


def spans_from_wire(messages: Iterable[pb.StageSpan]) -> tuple[StageSpan, ...]:
    return tuple(StageSpan(m.stage, m.began_ago_s, m.ended_ago_s) for m in messages)


def reason_from_wire(reason: str) -> FinishReason | None:
    return FinishReason(reason) if reason else None


def logprobs_to_wire(logprobs: TokenLogprobs) -> pb.TokenLogprobs:
    return pb.TokenLogprobs(
        logprob=logprobs.logprob, top_token_ids=logprobs.top_token_ids, top_logprobs=logprobs.top_logprobs
    )


def logprobs_from_wire(message: pb.TokenLogprobs) -> TokenLogprobs:
    return TokenLogprobs(message.logprob, tuple(message.top_token_ids), tuple(message.top_logprobs))


def sampling_to_wire(params: SamplingParams) -> pb.SamplingParams:
    return pb.SamplingParams(
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k,
        min_p=params.min_p,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        repetition_penalty=params.repetition_penalty,
        logit_bias=[pb.LogitBias(token_id=token_id, bias=bias) for token_id, bias in params.logit_bias],
        seed=params.seed,
        max_tokens=params.max_tokens,
        min_tokens=params.min_tokens,
        stop_token_ids=params.stop_token_ids,
        ignore_eos=params.ignore_eos,
        num_logprobs=params.num_logprobs,
    )


def sampling_from_wire(message: pb.SamplingParams) -> SamplingParams:
    return SamplingParams(
        temperature=message.temperature,
        top_p=message.top_p,
        top_k=message.top_k,
        min_p=message.min_p,
        presence_penalty=message.presence_penalty,
        frequency_penalty=message.frequency_penalty,
        repetition_penalty=message.repetition_penalty,
        logit_bias=tuple((entry.token_id, entry.bias) for entry in message.logit_bias),
        seed=message.seed,
        max_tokens=message.max_tokens,
        min_tokens=message.min_tokens,
        stop_token_ids=tuple(message.stop_token_ids),
        ignore_eos=message.ignore_eos,
        num_logprobs=message.num_logprobs if message.HasField("num_logprobs") else None,
    )


def image_to_wire(image: ImageSpan) -> pb.ImageSpan:
    frames, rows, columns = image.grid
    return pb.ImageSpan(
        start=image.start,
        num_tokens=image.num_tokens,
        content_hash=image.content_hash,
        num_frames=frames,
        num_rows=rows,
        num_columns=columns,
    )


def image_from_wire(message: pb.ImageSpan) -> ImageSpan:
    grid = (message.num_frames, message.num_rows, message.num_columns)
    return ImageSpan(message.start, message.num_tokens, message.content_hash, grid)


def request_to_wire(request: Request, now_s: float) -> pb.Request:
    has_deadline = request.first_token_deadline_s != float("inf")
    return pb.Request(
        request_id=request.request_id,
        attempt=request.attempt,
        gateway_id=request.gateway_id,
        handle=request.handle,
        prompt_token_ids=request.prompt_token_ids,
        output_token_ids=request.output_token_ids,
        sampling=sampling_to_wire(request.sampling),
        block_hashes=hashes_to_wire(request.block_hashes),
        first_token_in_s=request.first_token_deadline_s - now_s if has_deadline else None,
        priority=request.priority,
        tenant=request.tenant,
        traceparent=request.traceparent,
        images=[image_to_wire(image) for image in request.images],
    )


def request_from_wire(message: pb.Request, now_s: float) -> Request:
    has_deadline = message.HasField("first_token_in_s")
    return Request(
        request_id=message.request_id,
        attempt=message.attempt,
        gateway_id=message.gateway_id,
        handle=message.handle,
        prompt_token_ids=tuple(message.prompt_token_ids),
        sampling=sampling_from_wire(message.sampling),
        output_token_ids=tuple(message.output_token_ids),
        block_hashes=hashes_from_wire(message.block_hashes),
        first_token_deadline_s=now_s + message.first_token_in_s if has_deadline else float("inf"),
        priority=message.priority,
        tenant=message.tenant,
        traceparent=message.traceparent,
        images=tuple(image_from_wire(image) for image in message.images),
    )


def layout_to_wire(layout: KvLayout) -> pb.KvLayout:
    return pb.KvLayout(
        num_layers=layout.num_layers,
        num_kv_heads=layout.num_kv_heads,
        head_dim=layout.head_dim,
        block_size_tokens=layout.block_size,
        num_blocks=layout.num_blocks,
        element_bytes=layout.element_bytes,
        dtype=layout.dtype,
        tp_rank=layout.tp_rank,
        tp_size=layout.tp_size,
    )


def layout_from_wire(message: pb.KvLayout) -> KvLayout:
    return KvLayout(
        num_layers=message.num_layers,
        num_kv_heads=message.num_kv_heads,
        head_dim=message.head_dim,
        block_size=message.block_size_tokens,
        num_blocks=message.num_blocks,
        element_bytes=message.element_bytes,
        dtype=message.dtype,
        tp_rank=message.tp_rank,
        tp_size=message.tp_size,
    )


def endpoint_to_wire(endpoint: TransferEndpoint) -> pb.TransferEndpoint:
    return pb.TransferEndpoint(transport=endpoint.transport, address=endpoint.address, host_id=endpoint.host_id)


def endpoint_from_wire(message: pb.TransferEndpoint) -> TransferEndpoint:
    return TransferEndpoint(message.transport, message.address, message.host_id)
