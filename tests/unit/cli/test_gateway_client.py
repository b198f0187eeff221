"""What is not the JSON of a gateway becomes a sentence."""

import httpx
import pytest

from penstock.cli.drain import address_of
from penstock.cli.gateway_client import connect, get_json
from penstock.core.errors import PenstockError


def test_an_object_is_returned() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"groups": []}))
    with connect("http://gateway", transport=transport) as client:
        assert get_json(client, "/cluster") == {"groups": []}


@pytest.mark.parametrize(
    ("response", "sentence"),
    [
        (httpx.Response(200, text="<html>"), "is that a Penstock gateway?"),
        (httpx.Response(200, json=[1]), "is that a Penstock gateway?"),
        (httpx.Response(401, json={"error": {"message": "Wrong key."}}), "answered 401: Wrong key."),
        (httpx.Response(500, json={"error": "no"}), "answered 500: Internal Server Error"),
    ],
)
def test_anything_else_is_a_sentence(response: httpx.Response, sentence: str) -> None:
    transport = httpx.MockTransport(lambda _: response)
    with connect("http://gateway", transport=transport) as client, pytest.raises(PenstockError) as caught:
        get_json(client, "/cluster")
    assert sentence in caught.value.message


def test_an_unknown_worker_is_refused_with_those_there_are() -> None:
    cluster = {"groups": [{"workers": [{"worker_id": "decode-0", "address": "127.0.0.1:9001"}]}]}
    assert address_of(cluster, "decode-0") == "127.0.0.1:9001"
    with pytest.raises(PenstockError, match="no worker 'decode-1'; there are: decode-0"):
        address_of(cluster, "decode-1")


def test_the_key_comes_from_the_flag_or_else_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_API_KEY", raising=False)
    assert "authorization" not in connect("http://gateway").headers
    monkeypatch.setenv("PENSTOCK_API_KEY", "secret")
    assert connect("http://gateway").headers["authorization"] == "Bearer secret"
    assert connect("http://gateway", "flag").headers["authorization"] == "Bearer flag"
