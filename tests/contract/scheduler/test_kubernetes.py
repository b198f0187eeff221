"""Our calls to the Kubernetes API, against a double that checks them."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from penstock.core.errors import ChangeRefused, WorkerLost
from penstock.core.types import Role
from penstock.scheduler.kubernetes.api import KubernetesApi
from penstock.scheduler.kubernetes.cluster import KubernetesCluster
from penstock.scheduler.kubernetes.pod_watch import PodWatch
from penstock.scheduler.kubernetes.pool_names import parse
from tests.contract.scheduler.kubernetes_double import NAMESPACE, KubernetesDouble, Refusal, kubernetes

PREFILL_POD = "penstock-prefill-6d4cf56db6-x2x7k"
DECODE_POD = "penstock-decode-7f9c64d5b8-abcde"
ENCODER_POD = "penstock-encoder-5b8d7f6c9d-q4w8r"
POOLS = (
    *("default/prefill/penstock-prefill", "default/decode/penstock-decode", "default/encoder/penstock-encoder"),
    "other/decode/other-decode",
)


@pytest.fixture
async def double() -> AsyncIterator[KubernetesDouble]:
    async with kubernetes() as double:
        yield double


@pytest.fixture
async def api(double: KubernetesDouble) -> AsyncIterator[KubernetesApi]:
    api = KubernetesApi(double.client())
    yield api
    await api.close()


def replicas(double: KubernetesDouble) -> tuple[int, ...]:
    """Of the prefill, the decode and the encoder pool."""
    return tuple(double.replicas[f"penstock-{role}"] for role in ("prefill", "decode", "encoder"))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.01)


# --- scale ------------------------------------------------------------------------------------------------------------


async def test_scales_by_what_there_is(double: KubernetesDouble, api: KubernetesApi) -> None:
    assert await api.add_replicas("penstock-prefill", 3) == 5
    assert await api.add_replicas("penstock-prefill", -4) == 1
    assert await api.add_replicas("penstock-prefill", -4) == 0
    assert replicas(double) == (0, 2, 2)
    assert [verb for verb, _, _ in double.calls] == ["get", "patch"] * 3


async def test_a_conflict_is_resolved_by_reading_again(double: KubernetesDouble, api: KubernetesApi) -> None:
    def somebody_else() -> None:
        double.before_patch = lambda: None
        double.replicas["penstock-decode"] = 6
        double.versions["penstock-decode"] += 1

    double.before_patch = somebody_else
    assert await api.add_replicas("penstock-decode", 1) == 7


async def test_a_busy_api_is_asked_again_when_it_says(double: KubernetesDouble, api: KubernetesApi) -> None:
    double.refuse_next = [Refusal(429, retry_after_s=1)]
    began_s = asyncio.get_running_loop().time()
    assert await api.add_replicas("penstock-decode", 1) == 3
    assert asyncio.get_running_loop().time() - began_s >= 1.0


async def test_gives_up_after_some_conflicts_with_a_sentence(double: KubernetesDouble, api: KubernetesApi) -> None:
    double.refuse_next = [Refusal(409)] * 5
    with pytest.raises(ChangeRefused, match="in 5 tries"):
        await api.add_replicas("penstock-decode", 1)
    assert double.replicas["penstock-decode"] == 2


@pytest.mark.parametrize(
    ("deployment", "forbidden", "says"),
    [("penstock-decode", True, 'cannot patch resource "deployments/scale"'), ("nobody", False, "not found")],
)
async def test_what_is_not_permitted_or_not_there_is_a_sentence(
    double: KubernetesDouble, api: KubernetesApi, deployment: str, forbidden: bool, says: str
) -> None:
    if forbidden:
        double.rules.discard(("deployments/scale", "patch"))
    with pytest.raises(ChangeRefused, match=says):
        await api.add_replicas(deployment, 1)


async def test_a_wrong_token_and_a_server_that_is_away_are_sentences(double: KubernetesDouble) -> None:
    stranger = KubernetesApi(double.client(token="stolen"))
    with pytest.raises(ChangeRefused, match="Unauthorized"):
        await stranger.add_replicas("penstock-decode", 1)
    await stranger.close()
    double.url = "http://127.0.0.1:9"
    lonely = KubernetesApi(double.client())
    with pytest.raises(WorkerLost, match="does not answer"):
        await lonely.add_replicas("penstock-decode", 1)
    await lonely.close()


# --- events -----------------------------------------------------------------------------------------------------------


async def test_a_change_is_put_on_its_pod(double: KubernetesDouble, api: KubernetesApi) -> None:
    await api.tell(DECODE_POD, "RoleChange", "decode to prefill (prefill is strained): done")
    [event] = double.events
    assert event["involvedObject"] == {"apiVersion": "v1", "kind": "Pod", "name": DECODE_POD, "namespace": NAMESPACE}
    assert (event["reason"], event["type"]) == ("RoleChange", "Normal")
    assert event["metadata"]["generateName"] == f"{DECODE_POD}."


async def test_without_permission_events_are_tried_once(double: KubernetesDouble, api: KubernetesApi) -> None:
    double.rules.discard(("events", "create"))
    await api.tell(DECODE_POD, "RoleChange", "a")
    double.rules.add(("events", "create"))
    await api.tell(DECODE_POD, "RoleChange", "b")
    assert double.events == []


# --- pods -------------------------------------------------------------------------------------------------------------


class Watching:
    def __init__(self, double: KubernetesDouble) -> None:
        self.gone: list[str] = []
        self.client = double.client()
        self.pods = PodWatch(self.client, "default", self.gone.append)
        self.task = asyncio.create_task(self.pods.run())

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.client.close()


@pytest.fixture
async def watching(double: KubernetesDouble) -> AsyncIterator[Watching]:
    watching = Watching(double)
    await until(lambda: bool(double.watches))
    yield watching
    await watching.close()


async def test_a_pod_that_is_deleted_or_fails_is_gone_at_once(double: KubernetesDouble, watching: Watching) -> None:
    [(_, _, labels)] = double.calls
    assert labels == "app.kubernetes.io%2Fcomponent%3Dworker%2Cpenstock.dev%2Fgroup%3Ddefault"
    double.say("ADDED", PREFILL_POD, version=5)
    double.say("ADDED", DECODE_POD, version=6)
    double.say("DELETED", PREFILL_POD, version=7)
    double.say("MODIFIED", DECODE_POD, version=8, phase="Failed")
    await until(lambda: len(watching.gone) == 2)
    assert watching.gone == [PREFILL_POD, DECODE_POD]


async def test_a_watch_that_is_dropped_goes_on_from_where_it_was(double: KubernetesDouble, watching: Watching) -> None:
    double.say("ADDED", PREFILL_POD, version=41)
    await until(lambda: watching.pods.is_ready(PREFILL_POD))
    double.drop_watch()
    await until(lambda: bool(double.watches))
    assert double.watch_versions == [None, "41"]
    double.say("DELETED", PREFILL_POD, version=42)
    await until(lambda: watching.gone == [PREFILL_POD])


async def test_a_version_that_is_too_old_begins_from_the_present(double: KubernetesDouble, watching: Watching) -> None:
    double.say("ADDED", PREFILL_POD, version=41)
    await until(lambda: watching.pods.is_ready(PREFILL_POD))
    status = {"kind": "Status", "code": 410, "message": "too old resource version"}
    double.send({"type": "ERROR", "object": status})
    double.watches.clear()
    await until(lambda: len(double.watch_versions) == 2)
    assert double.watch_versions == [None, None]


async def test_without_permission_leases_do_it(double: KubernetesDouble) -> None:
    double.rules.discard(("pods", "watch"))
    watching = Watching(double)
    async with asyncio.timeout(5):
        await watching.task  # it ends, and nothing is raised
    assert watching.gone == []
    await watching.close()


# --- the scaler -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def cluster(double: KubernetesDouble, watching: Watching) -> AsyncIterator[KubernetesCluster]:
    async def drain(worker_id: str) -> None:
        double.say("MODIFIED", worker_id, is_ready=False, version=50)

    api = KubernetesApi(double.client())
    yield KubernetesCluster(api, watching.pods, parse(POOLS, "default"), drain)
    await api.close()


async def test_grows_the_pool_of_the_role(double: KubernetesDouble, cluster: KubernetesCluster) -> None:
    await cluster.scaler.grow(Role.DECODE, 2)
    assert replicas(double) == (2, 4, 2)
    with pytest.raises(ChangeRefused, match="no pool of mixed workers"):
        await cluster.scaler.grow(Role.MIXED, 1)


async def test_shrinks_by_the_worker_that_was_chosen_wherever_it_was_flipped_to(
    double: KubernetesDouble, cluster: KubernetesCluster, watching: Watching
) -> None:
    double.say("ADDED", DECODE_POD, version=10)
    await until(lambda: watching.pods.is_ready(DECODE_POD))
    seen: list[bool] = []
    double.before_patch = lambda: seen.append(watching.pods.is_ready(DECODE_POD))
    await cluster.scaler.shrink([DECODE_POD])
    assert seen == [False]  # drained, and seen to be unready, before the number of replicas falls
    assert replicas(double) == (2, 1, 2)


async def test_an_encoder_pool_grows_and_shrinks_like_the_others(
    double: KubernetesDouble, cluster: KubernetesCluster, watching: Watching
) -> None:
    await cluster.scaler.grow(Role.ENCODER, 2)
    assert replicas(double) == (2, 2, 4)
    double.say("ADDED", ENCODER_POD, version=10)
    await until(lambda: watching.pods.is_ready(ENCODER_POD))
    await cluster.scaler.shrink([ENCODER_POD])
    assert replicas(double) == (2, 2, 3) and not watching.pods.is_ready(ENCODER_POD)


async def test_a_worker_of_no_pool_changes_nothing(double: KubernetesDouble, cluster: KubernetesCluster) -> None:
    with pytest.raises(ChangeRefused, match="no pod of this group's pools"):
        await cluster.scaler.shrink([DECODE_POD, "by-hand-0"])
    assert replicas(double) == (2, 2, 2)


async def test_tells_of_changes_while_it_runs(double: KubernetesDouble, cluster: KubernetesCluster) -> None:
    running = asyncio.create_task(cluster.run())
    cluster.tell(PREFILL_POD, "prefill to decode (decode is strained): done")
    await until(lambda: len(double.events) == 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
