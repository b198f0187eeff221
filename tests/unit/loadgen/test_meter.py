"""What is shown while a run is under way."""

from penstock_loadgen.meter import WINDOW_S, Meter, quantile, together


def test_counts_are_whole_and_percentiles_recent() -> None:
    meter = Meter()
    for index in range(3):
        meter.sent(float(index), 0.001 * index)
    meter.tokens(7)
    meter.ended(0.5, "", 0.9, 0.02)
    meter.ended(20.0, "http_429", 0.1, None)
    reading = meter.read(20.0 + WINDOW_S / 2)
    assert (reading.num_sent, reading.num_in_flight, reading.num_failed, reading.num_tokens) == (3, 1, 1, 7)
    assert (reading.ttft_s, reading.tpot_s, reading.max_lateness_s) == ([0.1], [], 0.0)


def test_giving_up_on_purpose_is_no_failure() -> None:
    meter = Meter()
    meter.ended(0.0, "cancelled", None, None)
    assert meter.read(0.0).num_failed == 0


def test_processes_add_up() -> None:
    meters = [Meter(), Meter()]
    for meter in meters:
        meter.sent(0.0, 0.5)
        meter.ended(1.0, "cut", 0.2, 0.01)
    reading = together(meter.read(1.0) for meter in meters)
    assert (reading.num_sent, reading.failures["cut"], len(reading.ttft_s)) == (2, 2, 2)
    assert quantile(reading.ttft_s, 0.99) == 0.2
    assert quantile([], 0.5) is None
