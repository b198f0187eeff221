"""One example at least of every message, with every field used: what the codec is tested on."""

from dataclasses import replace
from typing import Any

from penstock.core.blocks import hash_blocks
from penstock.core.errors import BlocksExhausted, NoWorkers, WorkerLost
from penstock.core.images import ImageSpan
from penstock.core.kv_layout import KvLayout, TransferEndpoint
from penstock.core.policies.pool_changes import PoolChange
from penstock.core.pools import RoleChange, RolesView, Steering
from penstock.core.types import (
    Candidate,
    FinishReason,
    GatewayLoad,
    Request,
    Role,
    RouteQuery,
    RoutingDecision,
    SampledToken,
    SamplingParams,
    TokenLogprobs,
    WorkerRef,
    WorkerState,
)
from penstock.wire import control_messages as c
from penstock.wire import encode_messages as e
from penstock.wire import messages as m

HELLO = m.Hello("gateway-1", (1 << 64) - 1, 1 << 63)
REF = WorkerRef("prefill-0", (1 << 64) - 2, "10.0.0.1:5000")
SPANS = (m.StageSpan("queue", 1.5, 0.25), m.StageSpan("prefill", 0.25, 0.0))
LOGPROBS = TokenLogprobs(-0.5, (1, 2), (-0.5, -1.25))
IMAGE = ImageSpan(1, 6, bytes(range(16)), (1, 4, 6))
REQUEST = Request(
    request_id="r-1",
    attempt=2,
    gateway_id="gateway-1",
    handle=(1 << 64) - 1,
    prompt_token_ids=(1, 2, 151_935),
    sampling=SamplingParams(
        temperature=0.7,
        top_p=0.9,
        top_k=40,
        min_p=0.05,
        presence_penalty=-0.3,
        frequency_penalty=0.4,
        repetition_penalty=1.1,
        logit_bias=((7, -100.0), (8, 0.5)),
        seed=(1 << 64) - 1,
        max_tokens=100,
        min_tokens=3,
        stop_token_ids=(9, 10),
        ignore_eos=True,
        num_logprobs=0,
    ),
    output_token_ids=(11, 12),
    block_hashes=tuple(hash_blocks(range(40))),
    first_token_deadline_s=130.0,
    priority=-5,
    tenant="9f2c",
    traceparent="00-aa-bb-01",
    images=(IMAGE, ImageSpan(40, 4, b"h" * 16, (2, 2, 4))),
)
PLAIN_REQUEST = Request("r", 0, "g", 0, (1,), SamplingParams())
STATE = WorkerState(
    ref=REF,
    role=Role.MIXED,
    group="g",
    model="model",
    revision="abc",
    metrics_address="10.0.0.1:9000",
    block_size=32,
    num_blocks=1000,
    num_free_blocks=900,
    num_waiting=1,
    num_running=2,
    num_decoding=1,
    max_num_sequences=128,
    num_prefill_tokens=3,
    num_context_tokens=4,
    prefill_base_s=0.002,
    prefill_s_per_token=0.0001,
    token_interval_s=0.03,
    is_draining=True,
    transports=(("decode-0", "ucx"), ("decode-1", "tcp")),
    version="0.1.0",
    encodes_images=True,
)
LAYOUT = KvLayout(24, 8, 128, 32, 1000, 2, "bfloat16", tp_rank=1, tp_size=2)
CANDIDATE = Candidate(REF, 0.5, 64)
CALLS: list[tuple[str, Any]] = [
    ("Prefill/Serve", m.PrefillCalls()),
    ("Prefill/Serve", m.PrefillCalls(HELLO, (m.PrefillStart(REQUEST, (REF, REF)),), (1, 1 << 63))),
    ("Prefill/Serve", m.PrefillCalls(starts=(m.PrefillStart(PLAIN_REQUEST, ()),))),
    ("Encoder/Serve", e.EncodeCalls()),
    (
        "Encoder/Serve",
        e.EncodeCalls(HELLO, (e.EncodeStart("r", 1 << 63, 2, IMAGE, b"\x89PNG\0", REF, 130.0, "00-a-b-01"),), (1, 2)),
    ),
    ("Encoder/Serve", e.EncodeCalls(starts=(e.EncodeStart("r", 0, 0, IMAGE, b"", REF),))),
    ("Decode/Stream", m.DecodeCalls()),
    ("Decode/Stream", m.DecodeCalls(HELLO, (1, 1 << 63))),
    ("Decode/Link", m.LinkCalls()),
    (
        "Decode/Link",
        m.LinkCalls(
            HELLO,
            (m.Reserve(1 << 63, "r", 2, "g", 1 << 63, 100, 50, tuple(hash_blocks(range(32))), 3),),
            (m.Commit(1 << 63, REQUEST),),
            (1, 2),
            (3, 4),
        ),
    ),
    ("Decode/Link", m.LinkCalls(reserves=(m.Reserve(0, "", 0, "", 0, 0, 0),), commits=(m.Commit(0, PLAIN_REQUEST),))),
    ("Embeddings/Link", m.LinkCalls(HELLO, (m.Reserve(1, "r", 2, "g", 3, 100, 0, image_index=3),), released=(2,))),
    ("Router/Route", m.RouteCalls()),
    (
        "Router/Route",
        m.RouteCalls(
            HELLO,
            (RouteQuery("r", 10, 20, tuple(hash_blocks(range(16))), frozenset({"a", "b"}), "00-a-b-01", (48, 64)),),
        ),
    ),
    ("Router/Route", m.RouteCalls(queries=(RouteQuery("r", 10, 20),))),
    ("Router/Route", m.RouteCalls(load=GatewayLoad(3, 40, 90_000, 7, 1200, 1.5, 12.25))),
    ("Router/Heartbeat", m.HeartbeatRequest(STATE, tuple(hash_blocks(range(32))), tuple(hash_blocks(range(48))), True)),
    ("Router/Heartbeat", m.HeartbeatRequest(WorkerState(REF, Role.PREFILL))),
    ("Membership/Register", m.RegisterRequest(STATE)),
    ("Membership/Join", m.JoinRequest("gateway-1")),
    ("Worker/Drain", c.DrainRequest(2.5)),
    ("Worker/Flip", c.FlipRequest(Role.DECODE, (1 << 64) - 1, "long")),
    ("Worker/Holdings", c.HoldingsRequest()),
    ("Control/Scale", c.ScaleRequest(((Role.PREFILL, 3), (Role.DECODE, 0)), True)),
    ("Control/Flip", c.FlipOrderRequest("prefill-0", Role.MIXED, True, "long")),
    ("Control/Steer", c.SteerRequest(Steering.OBSERVE)),
    ("Control/Rollout", c.RolloutRequest((Role.PREFILL, Role.DECODE), True)),
    ("Pools/Grow", c.GrowRequest("g", Role.DECODE, 2)),
    ("Pools/Shrink", c.ShrinkRequest(("decode-0", "decode-1"))),
    ("Pools/Restart", c.RestartRequest("decode-0")),
]
REPLIES: list[tuple[str, Any]] = [
    ("Prefill/Serve", m.PrefillEvents()),
    (
        "Prefill/Serve",
        m.PrefillEvents(
            (1, 1 << 63),
            (m.PrefillEnded(2, BlocksExhausted("Full.")),),
            (m.FirstToken(3, SampledToken(9, LOGPROBS), 32, FinishReason.STOP, SPANS),),
            (m.HandedOff(4, REF, SPANS),),
            (m.PrefillEnded(5, WorkerLost("Gone.")),),
            True,
            (m.WantedImages(1, (0, 2)),),
        ),
    ),
    ("Prefill/Serve", m.PrefillEvents(first_tokens=(m.FirstToken(0, SampledToken(0)),))),
    ("Prefill/Serve", m.PrefillEvents(first_tokens=(m.FirstToken(0, SampledToken(0, TokenLogprobs(0.0))),))),
    ("Encoder/Serve", e.EncodeEvents()),
    (
        "Encoder/Serve",
        e.EncodeEvents((e.ImageDelivered(1 << 63, 2, True, SPANS),), (e.EncodeEnded(1, 0, WorkerLost("Gone.")),)),
    ),
    ("Decode/Stream", m.StepOutputs(0)),
    (
        "Decode/Stream",
        m.StepOutputs(
            7,
            (1, 1 << 63),
            (0, 151_935),
            (0, 5),
            (
                m.Finished(1, FinishReason.LENGTH, None, SPANS),
                m.Finished(2, None, WorkerLost("Gone.")),
            ),
            ((1, LOGPROBS), (2, TokenLogprobs(-1.0))),
        ),
    ),
    ("Decode/Link", m.LinkEvents()),
    (
        "Decode/Link",
        m.LinkEvents(
            m.LinkWelcome(REF, (LAYOUT,), (TransferEndpoint("ucx", b"\0\xff", "host"),), "abc"),
            (m.Reserved(1 << 63, (5, 6), 32, 10.0),),
            (m.ReservationEnded(1, BlocksExhausted("Full.")),),
            (2, 3),
            (4,),
            True,
        ),
    ),
    ("Router/Route", m.RouteEvents()),
    (
        "Router/Route",
        m.RouteEvents(
            (
                m.RouteAnswer("r", RoutingDecision((CANDIDATE,), (CANDIDATE, Candidate(REF)), True, (CANDIDATE,))),
                m.RouteAnswer("s", RoutingDecision((CANDIDATE,), (), False)),
                m.RouteAnswer("t", error=NoWorkers("Nobody.")),
            ),
            m.MembershipView(
                "g",
                (replace(STATE, heartbeat_s=95.0), WorkerState(REF, Role.DECODE)),
                roles=RolesView(Steering.AUTO, (RoleChange(75.0, "d-0", "decode to prefill", "TTFT 2x", "done"),)),
            ),
        ),
    ),
    ("Router/Heartbeat", m.HeartbeatResponse(True)),
    ("Router/Heartbeat", m.HeartbeatResponse(False)),
    ("Membership/Register", m.RegisterResponse("10.0.0.1:7000", 0.25)),
    ("Membership/Join", m.JoinResponse((("default", "10.0.0.1:7000"), ("long", "10.0.0.2:7000")), ("10.0.0.1:7001",))),
    ("Worker/Drain", c.DrainResponse(12)),
    ("Worker/Flip", c.FlipResponse(Role.PREFILL, 4)),
    ("Worker/Holdings", c.Holdings()),
    ("Worker/Holdings", c.Holdings(1, 2, 3, 4, 5, 6, 7, 8)),
    ("Control/Scale", c.ScaleResponse((PoolChange(Role.PREFILL, 1, 3), PoolChange(Role.DECODE, 2, 0, ("a", "b"))))),
    ("Control/Flip", c.FlipResponse(Role.PREFILL, 4)),
    ("Control/Steer", c.SteerResponse(Steering.AUTO)),
    ("Control/Rollout", c.RolloutResponse(("prefill-0", "decode-0"))),
    ("Pools/Grow", c.GrowResponse(("decode-2", "decode-3"))),
    ("Pools/Shrink", c.ShrinkResponse()),
    ("Pools/Restart", c.RestartResponse()),
]
