"""Several groups behind one gateway: each request goes to the group of its scenario.

Life of a request: between steps 1 and 2. Every group has its own router, sessions and waiting queue, so a scenario that
is overloaded keeps none of the others waiting.
"""

import asyncio
from collections.abc import Mapping, Sequence

from penstock.core.policies.scenario_groups import GroupRule, Traffic, choose_group
from penstock.core.types import Request
from penstock.gateway.dispatcher import RoutedDispatcher
from penstock.gateway.generation import Generation
from penstock.wire.messages import MembershipView


class GroupedDispatcher:
    """Dispatchers by group; `default` serves what no rule speaks of."""

    def __init__(self, dispatchers: Mapping[str, RoutedDispatcher], rules: Sequence[GroupRule], default: str) -> None:
        self._dispatchers = dispatchers
        self._rules = rules
        self._default = default

    async def start(self) -> None:
        for dispatcher in self._dispatchers.values():
            await dispatcher.start()

    async def close(self) -> None:
        await asyncio.gather(*(dispatcher.close() for dispatcher in self._dispatchers.values()))

    @property
    def num_requests(self) -> int:
        return sum(dispatcher.num_requests for dispatcher in self._dispatchers.values())

    @property
    def num_waiting(self) -> int:
        return sum(dispatcher.num_waiting for dispatcher in self._dispatchers.values())

    @property
    def num_encoding(self) -> int:
        return sum(dispatcher.num_encoding for dispatcher in self._dispatchers.values())

    def generate(self, request: Request, tenant: str, files: Sequence[bytes] = ()) -> Generation:
        traffic = Traffic(tenant, len(request.prompt_token_ids), request.sampling.max_tokens, request.priority)
        return self._dispatchers[choose_group(traffic, self._rules, self._default)].generate(request, files)

    def membership(self) -> Sequence[MembershipView]:
        return [view for dispatcher in self._dispatchers.values() for view in dispatcher.membership()]
