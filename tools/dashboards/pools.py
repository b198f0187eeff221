"""Pools and roles: who does what, how full they are, how they change."""

from tools.dashboards.nouns import (
    COUNT,
    RATE,
    SECONDS,
    SHARE,
    TOKENS,
    Board,
    Panel,
    Query,
    Row,
    by_role,
    quantiles,
    rate,
)

POOLS = (
    Panel("Workers by role", COUNT, (Query("sum by (role) (penstock_workers)", "{{role}}"),), is_stacked=True),
    Panel("Sequences", COUNT, (Query("sum by (role, state) (penstock_pool_sequences)", "{{role}} {{state}}"),)),
    Panel(
        "Pools in use", SHARE, (Query("penstock:pool_saturation:ratio", "{{role}}"),), "Of the sequences that may run."
    ),
    Panel("Prompt tokens to compute", TOKENS, (Query("sum by (role) (penstock_pool_prefill_tokens)", "{{role}}"),)),
)

MEMORY = (
    Panel("KV blocks in use", SHARE, (Query("penstock:pool_kv_used:ratio", "{{role}}"),)),
    Panel("Fullest workers", SHARE, (Query("topk(8, penstock:worker_kv_used:ratio)", "{{worker}}"),)),
    Panel("KV blocks by state", COUNT, (Query("sum by (state) (penstock_kv_blocks)", "{{state}}"),), is_stacked=True),
    Panel(
        "Prefix cache hits", SHARE, (Query("penstock:prefix_hit:ratio5m", "{{role}}"),), "Of prompt tokens looked up."
    ),
)

STEPS = (
    Panel("Step time", SECONDS, quantiles("penstock_step_seconds", "kind")),
    Panel("Steps a second", RATE, (rate("penstock_step_seconds_count", "kind"),)),
    Panel("Sequences in a step", COUNT, quantiles("penstock_step_sequences")),
    Panel("Tokens in a step", COUNT, quantiles("vllm:iteration_tokens_total")),
)

WORK = (
    Panel(
        "Tokens sampled by role",
        TOKENS,
        (
            Query(
                by_role('sum by (worker) (rate(vllm:generation_tokens_total{worker!=""}[$__rate_interval]))'),
                "{{role}}",
            ),
        ),
    ),
    Panel(
        "Prompt tokens computed by role",
        TOKENS,
        (Query(by_role('sum by (worker) (rate(vllm:prompt_tokens_total{worker!=""}[$__rate_interval]))'), "{{role}}"),),
    ),
    Panel(
        "Preemptions",
        RATE,
        (Query(by_role("sum by (worker) (rate(vllm:num_preemptions_total[$__rate_interval]))"), "{{role}}"),),
    ),
)

CHANGES = (
    Panel(
        "Prefill workers to one that decodes",
        COUNT,
        (
            Query(
                'sum(penstock_workers{role=~"prefill|mixed"}) / (sum(penstock_workers{role=~"decode|mixed"}) > 0)',
                "P/D ratio",
            ),
        ),
    ),
    Panel(
        "Flips",
        COUNT,
        (
            Query(
                "sum by (from_role, to_role) (increase(penstock_flips_total[$__rate_interval]))",
                "{{from_role}} to {{to_role}}",
            ),
        ),
    ),
    Panel(
        "Role changes, ordered and decided",
        COUNT,
        (
            Query(
                "sum by (by, outcome) (increase(penstock_role_changes_total[$__rate_interval]))", "{{by}} {{outcome}}"
            ),
        ),
    ),
    Panel(
        "Drains and departures",
        COUNT,
        (
            Query("sum by (role) (increase(penstock_drains_total[$__rate_interval]))", "{{role}} drains"),
            Query(
                "sum by (role, how) (increase(penstock_worker_departures_total[$__rate_interval]))", "{{role}} {{how}}"
            ),
        ),
    ),
    Panel("Age of heartbeats", SECONDS, (Query("topk(8, penstock:heartbeat_age_seconds:max)", "{{worker}}"),)),
)

BOARD = Board(
    "pools",
    "Penstock pools and roles",
    (Row("Pools", POOLS), Row("KV", MEMORY), Row("Steps", STEPS), Row("Work", WORK), Row("Changes", CHANGES)),
)
