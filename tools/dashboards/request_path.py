"""The request path: where the time goes, and what stands in the way."""

from tools.dashboards.nouns import COUNT, RATE, SECONDS, SHARE, Board, Panel, Query, Row, quantiles, rate

MEAN = (
    "sum by (stage) (rate(penstock_stage_seconds_sum[$__rate_interval])) "
    "/ (sum by (stage) (rate(penstock_stage_seconds_count[$__rate_interval])) > 0)"
)


def _stage(title: str, stage: str, meaning: str = "") -> Panel:
    return Panel(title, SECONDS, quantiles("penstock_stage_seconds", where=f'{{stage="{stage}"}}'), meaning)


WHOLE = (
    Panel(
        "Mean time by stage", SECONDS, (Query(MEAN, "{{stage}}"),), "Stages overlap: KV moves while prompts compute."
    ),
    Panel("Time to first token", SECONDS, quantiles("vllm:time_to_first_token_seconds")),
    Panel("Between tokens", SECONDS, quantiles("vllm:inter_token_latency_seconds")),
)

STAGES = (
    _stage("Route", "route", "From asking the router to its answer."),
    _stage("Queue", "queue", "For a worker in the gateway, and in the worker."),
    _stage("Prefill", "prefill"),
    _stage("Reserve", "reserve", "Until a decode worker has promised blocks."),
    _stage("Transfer", "transfer", "From the promise until decoding has begun there."),
    _stage("Decode wait", "decode_wait", "Everything has arrived; the running step has not ended."),
    _stage("Decode", "decode"),
)

ROUTES = (
    Panel("Router's decision", SECONDS, quantiles("penstock_route_decision_seconds")),
    Panel("Routes by outcome", RATE, (rate("penstock_routes_total", "outcome"),)),
    Panel("Routes without a router", RATE, (rate("penstock_routes_without_router_total"),)),
    Panel("Block hashes indexed", COUNT, (Query("sum(penstock_prefix_index_hashes)"),)),
)

OBSTACLES = (
    Panel("Refusals by workers", RATE, (rate("penstock_rejections_total", "reason"),)),
    Panel("Waiting in the gateway", SECONDS, quantiles("penstock_gateway_queue_seconds")),
    Panel("Resumed attempts", RATE, (rate("penstock_resumes_total", "reason"),)),
    Panel("Clients that left", RATE, (rate("penstock_cancellations_total", "while"),)),
    Panel("Sequences by end", RATE, (rate("vllm:request_success_total", "finished_reason"),)),
)

SHAPES = (
    Panel("Prompt tokens", COUNT, quantiles("vllm:request_prompt_tokens")),
    Panel("Output tokens", COUNT, quantiles("vllm:request_generation_tokens")),
    Panel("Time per output token", SECONDS, quantiles("vllm:request_time_per_output_token_seconds")),
    Panel("Open streams", COUNT, (Query("sum(penstock_gateway_open_streams)"),)),
    Panel(
        "Gateway's cores in use",
        SHARE,
        (
            Query(
                "rate(process_cpu_seconds_total[$__rate_interval]) and on (instance) penstock_gateway_open_streams",
                "{{instance}}",
            ),
        ),
    ),
)

BOARD = Board(
    "request_path",
    "Penstock request path",
    (
        Row("Whole", WHOLE),
        Row("Stages", STAGES),
        Row("Routes", ROUTES),
        Row("What stands in the way", OBSTACLES),
        Row("Shapes", SHAPES),
    ),
)
