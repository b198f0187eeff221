"""How the CLI talks to a gateway: plain HTTP, and failures as sentences."""

from typing import Any

import httpx

from penstock.core.errors import InternalError, PenstockError, WorkerLost
from penstock.runtime.settings import gateway_api_key

API_KEY_HELP = "bearer token, if the gateway wants one; better in PENSTOCK_API_KEY, which `ps` does not show"
DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT_S = 10.0


def connect(url: str, api_key: str = "", transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """A client of the gateway at `url`; tests pass a transport."""
    key = api_key or gateway_api_key()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S, transport=transport, trust_env=False)


def get_json(client: httpx.Client, path: str) -> dict[str, Any]:
    """The JSON object at `path`."""
    try:
        response = client.get(path)
    except httpx.HTTPError as error:
        raise unreachable(client, error) from error
    require_success(response)
    try:
        content = response.json()
    except ValueError as error:
        raise InternalError(f"{response.url} did not answer with JSON; is that a Penstock gateway?") from error
    if not isinstance(content, dict):
        raise InternalError(f"{response.url} did not answer with an object; is that a Penstock gateway?")
    return content


def require_success(response: httpx.Response) -> None:
    """Raise the sentence of an error answer; its body must have been read."""
    if response.is_success:
        return
    try:
        sentence = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        sentence = response.reason_phrase or "no reason given"
    raise InternalError(f"{response.url} answered {response.status_code}: {sentence}")


def unreachable(client: httpx.Client, error: httpx.HTTPError) -> PenstockError:
    """What a failed connection or a broken one means to whoever typed the command."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return WorkerLost(f"Nothing answers at {client.base_url}. Is `penstock up` running there? Else pass --url.")
    return WorkerLost(f"The connection to {client.base_url} broke: {error or type(error).__name__}")
