"""Images on one encoder."""

from penstock.core.encode_cost import EncodeCost
from penstock.core.policies.encoder_batching import EncodeJob, EncodeLimits
from penstock.simulator.encodes import Encoder, EncodeSide
from penstock.simulator.events import EventQueue

COST = EncodeCost(0.5, 0.001)


def side(max_images: int) -> tuple[EncodeSide, EventQueue]:
    events = EventQueue()
    return EncodeSide(Encoder(COST, EncodeLimits(max_images=max_images)), events), events


def test_batches_run_one_after_the_other_in_order_of_arrival() -> None:
    encodes, events = side(max_images=2)
    done: dict[str, float] = {}

    def add(name: str) -> None:
        encodes.add(EncodeJob(name, 1000, 64), lambda is_encoded: done.update({name: events.now_s}))

    for name in "abc":
        add(name)
    assert (encodes.num_waiting, encodes.num_jobs, encodes.num_patches) == (2, 3, 3000)
    events.run()
    assert done == {"a": 1.5, "b": 4.0, "c": 4.0}  # what came while a ran goes together
    assert encodes.busy_s == 4.0
    assert encodes.num_jobs == 0


def test_a_dead_encoder_lets_everybody_know_once() -> None:
    encodes, events = side(max_images=1)
    heard: list[bool] = []
    for name in "ab":
        encodes.add(EncodeJob(name, 1000, 64), heard.append)
    events.at(1.0, encodes.die)
    events.run()
    assert heard == [False, False]
