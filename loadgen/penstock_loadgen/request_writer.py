"""A turn as it is put to an endpoint: HTTP head and JSON body in bytes, made before the moment they are due."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from penstock.core.timeline import Slo
from penstock_loadgen.endpoint import COMPLETIONS, PATHS, EndpointSpec
from penstock_loadgen.http_client import StreamingClient
from penstock_loadgen.images import data_urls
from penstock_loadgen.prompts import PromptWriter
from penstock_loadgen.sessions import BEFORE, Session
from penstock_loadgen.workload import WorkloadSpec

SESSION_HEADER = "x-session-id"
PRIORITY_HEADER = "x-penstock-priority"
TENANT_HEADER = "x-tenant-id"
TTFT_HEADER, TPOT_HEADER = "x-llm-d-slo-ttft-ms", "x-llm-d-slo-tpot-ms"  # milliseconds: the ecosystem fixed the names


@dataclass(slots=True)
class Told:
    """What a session has come to: question, answer, question ..., and the pictures of its first turn."""

    said: list[str]
    pictures: tuple[str, ...] = ()  # data URLs


class RequestWriter:
    """Puts the turns of sessions into bytes, ready to be sent."""

    def __init__(self, spec: EndpointSpec, writer: PromptWriter, workload: WorkloadSpec) -> None:
        self._spec = spec
        self._writer = writer
        self._workload = workload

    def words_of(self, session: Session, turn_index: int) -> str:
        """What the user says in this turn; with the answers, later turns need it again."""
        return self._writer.turn(session, turn_index)

    def pictures_of(self, session: Session) -> tuple[str, ...]:
        """As data URLs. Takes milliseconds for each, in a thread if need be."""
        return data_urls(session, self._workload.seed)

    def request(self, client: StreamingClient, session: Session, turn_index: int, told: Told) -> bytes:
        """Head and body; what is said now is the last of what was told."""
        body = self._body(session, turn_index, told)
        return client.head("POST", PATHS[self._spec.api], len(body), self._headers(session)) + body

    def _body(self, session: Session, turn_index: int, told: Told) -> bytes:
        turn = session.turns[turn_index]
        body: dict[str, Any] = {
            "model": self._spec.model,
            "max_tokens": turn.num_output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": self._spec.temperature,
        }
        if self._spec.forces_length:
            body["ignore_eos"] = True
        system = self._writer.system_prompt(session)
        if self._spec.api == COMPLETIONS:
            body["prompt"] = "\n".join((system, *told.said) if system else told.said)
        else:
            body["messages"] = _messages(system, told, session.traffic_class.images.place == BEFORE)
        return orjson.dumps({**body, **session.traffic_class.body})

    def _headers(self, session: Session) -> Mapping[str, str]:
        traffic_class = session.traffic_class
        headers = self._spec.headers
        if traffic_class.api_key:
            headers["Authorization"] = f"Bearer {traffic_class.api_key}"
        if traffic_class.tenant:
            headers[TENANT_HEADER] = traffic_class.tenant
        if traffic_class.priority:
            headers[PRIORITY_HEADER] = str(traffic_class.priority)
        if len(session.turns) > 1:
            headers[SESSION_HEADER] = f"bench-{session.number}"
        slo = self._workload.slo_of(traffic_class) if traffic_class.sends_slo else Slo()
        ttft_s = min(self._workload.deadline_s_of(traffic_class), slo.ttft_s)
        if ttft_s < float("inf"):
            headers[TTFT_HEADER] = f"{ttft_s * 1000:g}"
        if slo.tpot_s < float("inf"):
            headers[TPOT_HEADER] = f"{slo.tpot_s * 1000:g}"
        return headers | {name: str(value) for name, value in traffic_class.headers.items()}


def _messages(system: str, told: Told, are_pictures_first: bool) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for index, text in enumerate(told.said):
        content: Any = text
        if index == 0 and told.pictures:
            pictures = [{"type": "image_url", "image_url": {"url": url}} for url in told.pictures]
            words = {"type": "text", "text": text}
            content = [*pictures, words] if are_pictures_first else [words, *pictures]
        messages.append({"role": "assistant" if index % 2 else "user", "content": content})
    return messages
