"""Models, tokens, metrics and the view of the cluster."""

from penstock.core.types import Role
from tests.gateway_fakes import MAX_CONTEXT_TOKENS, MODEL, Client, FakeDispatcher, make_service, tiny_tokenizer, worker


async def test_models_lists_the_one_served() -> None:
    client = Client(make_service(FakeDispatcher()))
    listed = (await client.get("/v1/models")).json
    assert listed["object"] == "list"
    assert listed["data"] == [(await client.get(f"/v1/models/{MODEL}")).json]
    assert listed["data"][0]["id"] == MODEL
    assert listed["data"][0]["max_model_len"] == MAX_CONTEXT_TOKENS


async def test_tokenize_and_detokenize_undo_each_other() -> None:
    client = Client(make_service(FakeDispatcher()))
    answer = (await client.post("/tokenize", {"prompt": "The wheel 🙂", "return_token_strs": True})).json
    assert answer["count"] == len(answer["tokens"]) == len(answer["token_strs"])
    assert answer["max_model_len"] == MAX_CONTEXT_TOKENS
    assert (await client.post("/detokenize", {"tokens": answer["tokens"]})).json == {"prompt": "The wheel 🙂"}


async def test_tokenize_sees_a_conversation_as_chat_does() -> None:
    dispatcher = FakeDispatcher()
    client = Client(make_service(dispatcher))
    body = {"messages": [{"role": "user", "content": 'say "messages"'}]}
    answer = (await client.post("/tokenize", body)).json
    await client.post("/v1/chat/completions", body)
    assert answer["tokens"] == dispatcher.requests[0].prompt_token_ids
    assert answer["token_strs"] is None


async def test_a_prompt_that_speaks_of_messages_is_still_a_prompt() -> None:
    client = Client(make_service(FakeDispatcher()))
    assert (await client.post("/tokenize", {"prompt": '"messages"'})).status == 200


async def test_a_long_text_is_tokenised_too() -> None:
    text = "The quick brown fox. " * 500
    assert tiny_tokenizer().decode(await tiny_tokenizer().encode(text, add_special_tokens=False)) == text


async def test_cluster_shows_every_worker_with_its_load() -> None:
    dispatcher = FakeDispatcher(
        workers=[worker("prefill-0", Role.PREFILL, heartbeat_s=99.5, transports=(("decode-0", "ucx"),))],
        num_requests=4,
    )
    shown = (await Client(make_service(dispatcher)).get("/cluster")).json
    assert shown["gateway"]["id"] == "gateway-0"
    assert shown["gateway"]["num_requests"] == 4
    (group,) = shown["groups"]
    (shown_worker,) = group["workers"]
    assert group["name"] == "default"
    assert shown_worker["transports"] == {"decode-0": "ucx"}
    assert shown_worker["heartbeat_age_s"] == 0.5
    assert shown_worker["role"] == "prefill"


async def test_load_is_read_when_scraped() -> None:
    dispatcher = FakeDispatcher()
    service = make_service(dispatcher)
    service.metrics.watch_load(lambda: dispatcher.num_requests, lambda: dispatcher.num_waiting)
    dispatcher.num_requests, dispatcher.num_waiting = 5, 2
    text = (await Client(service).get("/metrics")).body.decode()
    assert 'vllm:num_requests_running{model_name="tiny"} 3.0' in text
    assert 'vllm:num_requests_waiting{model_name="tiny"} 2.0' in text


async def test_the_page_links_to_what_there_is() -> None:
    client = Client(make_service(FakeDispatcher()))
    page = (await client.get("/")).body.decode()
    for path in ("/v1/models", "/cluster", "/ready", "/health", "/metrics"):
        assert f'href="{path}"' in page


async def test_targets_are_what_prometheus_discovers() -> None:
    members = [worker("prefill-0", Role.PREFILL, metrics_address="10.0.0.1:9"), worker("decode-0", Role.DECODE)]
    service = make_service(FakeDispatcher(workers=members, metrics_addresses=["10.0.0.2:9", "10.0.0.3:9"]))
    found = (await Client(service).get("/cluster/targets", {"host": "gateway:8000"})).json
    assert {group["labels"]["component"]: group["targets"] for group in found} == {
        "gateway": ["gateway:8000"],
        "worker": ["10.0.0.1:9"],
        "scheduler": ["10.0.0.2:9", "10.0.0.3:9"],
    }
