"""Tenants and objectives: who uses how much, who is refused, what is promised and kept."""

from tools.dashboards.nouns import RATE, SHARE, TOKENS, Board, Panel, Query, Row, rate

CACHED = (
    'sum by (tenant) (rate(penstock_tenant_tokens_total{kind="cached"}[$__rate_interval])) '
    '/ (sum by (tenant) (rate(penstock_tenant_tokens_total{kind="prompt"}[$__rate_interval])) > 0)'
)
WINDOWS = ("5m", "1h", "6h", "1d", "3d")

USE = (
    Panel("Requests", RATE, (rate("penstock_requests_total", "tenant"),), is_stacked=True),
    Panel(
        "Output tokens", TOKENS, (rate("penstock_tenant_tokens_total", "tenant", '{kind="output"}'),), is_stacked=True
    ),
    Panel(
        "Prompt tokens", TOKENS, (rate("penstock_tenant_tokens_total", "tenant", '{kind="prompt"}'),), is_stacked=True
    ),
    Panel("Prompt tokens found in caches", SHARE, (Query(CACHED, "{{tenant}}"),)),
)

REFUSALS = (
    Panel("Refusals and failures", RATE, (rate("penstock_tenant_refusals_total", "tenant, code"),)),
    Panel("Requests by outcome", RATE, (rate("penstock_requests_total", "tenant, outcome"),)),
    Panel("Turned away", SHARE, (Query("penstock:shed:ratio5m", "429"),)),
    Panel("Failed", SHARE, (Query("penstock:failed:ratio5m", "5xx"),)),
)

OBJECTIVES = (
    Panel("Attainment", SHARE, (Query("1 - penstock:slo_missed:ratio5m", "{{objective}}"),)),
    Panel(
        "Burn rate",
        "short",
        tuple(Query(f"penstock:slo_missed:ratio{window} / 0.01", f"{{{{objective}}}} {window}") for window in WINDOWS),
        "1 uses up the budget of 30 days in 30 days; 14.4 in two.",
    ),
    Panel("Sequences judged", RATE, (rate("penstock_slo_sequences_total", "objective, outcome"),)),
)

BOARD = Board(
    "tenants",
    "Penstock tenants and objectives",
    (Row("Use", USE), Row("Refusals", REFUSALS), Row("Objectives", OBJECTIVES)),
)
