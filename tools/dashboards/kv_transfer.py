"""KV transfer: how much, how fast, by which transport, and what goes wrong."""

from tools.dashboards.nouns import BYTES, COUNT, RATE, SECONDS, Board, Panel, Query, Row, quantiles, rate

FLOW = (
    Panel("Bytes sent", BYTES, (Query("penstock:transfer_bytes:rate5m", "{{transport}}"),)),
    Panel(
        "Speed of a push",
        BYTES,
        (Query("penstock:transfer_speed_bytes_per_second:mean5m", "{{transport}}"),),
        "Bytes over the time that pushes took, not over idle time.",
    ),
    Panel("Segments verified", RATE, (rate("penstock_transfer_segments_total", "direction, transport"),)),
    Panel("Bytes by sender", BYTES, (rate("penstock_transfer_bytes_total", "worker", '{direction="sent"}'),)),
)

TIME = (
    Panel("Transfer", SECONDS, quantiles("penstock_stage_seconds", where='{stage="transfer"}')),
    Panel("Reserve", SECONDS, quantiles("penstock_stage_seconds", where='{stage="reserve"}')),
    Panel("Decode wait", SECONDS, quantiles("penstock_stage_seconds", where='{stage="decode_wait"}')),
)

LINKS = (
    Panel("Links by transport", COUNT, (Query("count by (transport) (penstock_transfer_peer_info)", "{{transport}}"),)),
    Panel("Links over TCP", COUNT, (Query("penstock:tcp_peers:count", "{{worker}}"),)),
    Panel("Reservations not started", COUNT, (Query("sum by (worker) (penstock_reservations)", "{{worker}}"),)),
    Panel(
        "Blocks in quarantine",
        COUNT,
        (Query('sum by (worker) (penstock_kv_blocks{state="quarantined"})', "{{worker}}"),),
    ),
)

FAULTS = (
    Panel("Pushes that did not arrive", RATE, (Query("penstock:transfer_failures:rate5m", "{{worker}}"),)),
    Panel("Checksum failures", RATE, (Query("penstock:transfer_checksum_failures:rate5m", "{{worker}}"),)),
    Panel("Segments sent again", RATE, (rate("penstock_transfer_resends_total", "transport"),)),
    Panel("Segments refused", RATE, (rate("penstock_transfer_refused_total", "transport"),)),
)

BOARD = Board(
    "kv_transfer",
    "Penstock KV transfer",
    (Row("Flow", FLOW), Row("Time", TIME), Row("Links", LINKS), Row("Faults", FAULTS)),
)
