"""Requests with images: encoded on workers of their own, or where they are prefilled."""

from dataclasses import replace

import pytest

from penstock.core.encode_cost import EncodeCost
from penstock.core.role_controller import RoleRules
from penstock.core.route_book import RouteRules
from penstock.core.schedule import Batching
from penstock.core.timeline import Slo, Stage
from penstock.core.types import Role
from penstock.simulator.encodes import Encoder
from penstock.simulator.scenario import Failure, PoolSpec, Scenario
from penstock.simulator.transfers import TransferCosts
from penstock.simulator.workload import RequestSpec
from tests.simulation.clusters import DECODE, PREFILL, RecordingCluster, run, traffic

SLOW = Encoder(EncodeCost(0.0, 1e-3))  # 0.1 s an image
ENCODER = PoolSpec(Role.ENCODER, 4, encoder=SLOW)
SPLIT = (replace(PREFILL, encoder=SLOW), DECODE, ENCODER)


def pictures(rate: float, num_requests: int, num_images: int, output: float = 120) -> list[RequestSpec]:
    return [
        replace(spec, num_images=num_images, patches_per_image=100, tokens_per_image=64)
        for spec in traffic(rate, num_requests, output=output)
    ]


def encode_s(cluster: RecordingCluster) -> list[float]:
    return [timeline.duration_s(Stage.ENCODE) for _, timeline, _ in cluster.ended]


@pytest.mark.parametrize(("max_image_shards", "num_rounds"), [(0, 1), (2, 2), (1, 4)])
def test_a_lone_requests_images_take_as_many_rounds_as_encoders_are_short(
    max_image_shards: int, num_rounds: int
) -> None:
    router = RouteRules(max_image_shards=max_image_shards)
    cluster = run(Scenario(pools=SPLIT, router=router), pictures(0.5, 10, num_images=4))
    assert encode_s(cluster) == pytest.approx([0.1 * num_rounds + 4 * 0.0005] * 10, abs=0.001)


@pytest.mark.parametrize("batching", [Batching.STALL_FREE, Batching.LAYERED])
def test_without_encoders_the_prefill_worker_encodes_in_its_step(batching: Batching) -> None:
    pools = (replace(SPLIT[0], batching=batching), DECODE)
    together = run(Scenario(pools=pools), pictures(0.5, 10, num_images=4))
    plain = run(Scenario(pools=pools), pictures(0.5, 10, num_images=0))
    for (_, with_images, _), (_, without, _) in zip(together.ended, plain.ended, strict=True):
        assert with_images.ttft_s is not None and without.ttft_s is not None
        assert with_images.ttft_s - without.ttft_s == pytest.approx(0.4, abs=0.01)


def test_images_of_dead_encoders_are_encoded_elsewhere_and_by_prefill_workers_when_none_is_left() -> None:
    deaths = tuple(Failure(f"encoder-{n}", 1.0 + n) for n in range(4))
    cluster = run(Scenario(pools=SPLIT, failures=deaths), pictures(8.0, 80, num_images=3))
    assert not cluster.metrics.totals.failures
    assert len(cluster.ended) == 80


def test_encoders_are_described_with_their_block_size_and_sampled_with_their_jobs() -> None:
    scenario = Scenario(pools=(SPLIT[0], DECODE, replace(ENCODER, count=1, block_size=32)), sample_interval_s=0.1)
    cluster = run(scenario, pictures(8.0, 20, num_images=3))
    assert cluster.workers["encoder-0"].describe().block_size == 32
    samples = cluster.history.samples["encoder"]
    assert max(sample.num_waiting for sample in samples) > 1
    assert max(sample.num_running for sample in samples) > 0


def test_embeddings_that_arrive_at_a_dead_prefill_worker_do_not_leave_their_request_waiting() -> None:
    [picture] = traffic(1.0, 1)
    picture = replace(picture, arrived_s=0.0, num_images=1, patches_per_image=100, tokens_per_image=900)
    pools = (replace(SPLIT[0], count=1), DECODE, replace(ENCODER, count=1))
    slow_network = TransferCosts(bandwidth_bytes_per_s=1e7)  # the embeddings take most of a second
    failure = Failure("prefill-0", 0.3, back_after_s=1.0)
    cluster = run(Scenario(pools=pools, transfer=slow_network, failures=(failure,)), [picture])
    assert not cluster.metrics.totals.failures


def test_what_a_prefill_worker_refused_or_was_told_to_cancel_is_not_kept_for_encoding() -> None:
    pools = (replace(SPLIT[0], max_pending_tokens=700), DECODE)
    cluster = run(Scenario(pools=pools), pictures(20.0, 60, num_images=2))
    assert cluster.desk.rejections
    assert not any(worker._to_encode for worker in cluster.workers.values())


@pytest.mark.parametrize("policy", ["combined", "epd"])
def test_idle_encoders_become_decode_workers_when_answers_pile_up(policy: str) -> None:
    pools = (SPLIT[0], replace(DECODE, count=1, max_sequences=8), ENCODER)
    scenario = Scenario(pools=pools, slo=Slo(1.0, 0.05), roles=RoleRules(policy))
    cluster = run(scenario, pictures(4.0, 120, num_images=1, output=800))
    switched = [flip for flip in cluster.roles.flips if (flip.from_role, flip.to_role) == ("encoder", "decode")]
    assert switched
    assert cluster.workers[switched[0].worker_id].engine.totals.num_sampled_tokens > 0
    assert not cluster.metrics.totals.failures
