"""Is all well, and how much of what is there."""

from tools.dashboards.nouns import COUNT, RATE, SECONDS, SHARE, TOKENS, Board, Panel, Query, Row, quantiles, rate

NOW = (
    Panel("Answered", RATE, (rate("penstock_requests_total", where='{outcome="answered"}'),), is_stat=True),
    Panel(
        "Output tokens a second", TOKENS, (rate("penstock_tenant_tokens_total", where='{kind="output"}'),), is_stat=True
    ),
    Panel("In flight", COUNT, (Query('sum(vllm:num_requests_running{worker=""})'),), is_stat=True),
    Panel("Waiting for a worker", COUNT, (Query('sum(vllm:num_requests_waiting{worker=""})'),), is_stat=True),
    Panel("Workers", COUNT, (Query("sum(penstock_workers)"),), is_stat=True),
    Panel("Failed", SHARE, (Query("penstock:failed:ratio5m"),), is_stat=True),
)

LATENCY = (
    Panel(
        "Time to first token",
        SECONDS,
        quantiles("vllm:time_to_first_token_seconds"),
        "From a request's arrival at the gateway to its first token.",
    ),
    Panel("Between tokens", SECONDS, quantiles("vllm:inter_token_latency_seconds")),
    Panel("Request to last token", SECONDS, quantiles("vllm:e2e_request_latency_seconds")),
)

TRAFFIC = (
    Panel("Requests by outcome", RATE, (rate("penstock_requests_total", "outcome"),), is_stacked=True),
    Panel("Tokens", TOKENS, (rate("penstock_tenant_tokens_total", "kind"),), "Cached ones are among the prompt's."),
    Panel("Errors by code", RATE, (rate("penstock_gateway_errors_total", "code"),)),
)

HEALTH = (
    Panel(
        "Objectives missed",
        SHARE,
        (
            Query("penstock:slo_missed:ratio5m", "{{objective}} 5 min"),
            Query("penstock:slo_missed:ratio1h", "{{objective}} 1 h"),
        ),
    ),
    Panel("Pools in use", SHARE, (Query("penstock:pool_saturation:ratio", "{{group}} {{role}}"),)),
    Panel(
        "Alerts", COUNT, (Query("count by (alertname, severity) (ALERTS) or vector(0)", "{{alertname}} {{severity}}"),)
    ),
)

BOARD = Board(
    "overview",
    "Penstock overview",
    (Row("Now", NOW), Row("Latency", LATENCY), Row("Traffic", TRAFFIC), Row("Health", HEALTH)),
)
