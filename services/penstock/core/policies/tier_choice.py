"""Where a prefix that leaves device memory is kept: the cheapest place it is still worth loading from.

CacheBlend's controller (arXiv 2405.16444) picks the cheapest device with

    T_load(tier) = latency + num_tokens * bytes_per_token / bandwidth  <=  T_recompute                    [s]

with T_recompute = T_prefill(n) for an exact prefix and 15 % of it for blended text. A prefix that no tier gives back in
time is dropped: it would cost space and never be read. xLLM keeps what is on the device in host memory too, so that
dropping it there costs nothing; that is the caller's choice of when to ask.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tier:
    """A place for KV below device memory. `price` compares tiers: any unit, per byte."""

    name: str
    bytes_per_s: float
    latency_s: float
    price: float
    num_free_bytes: int

    def load_s(self, num_bytes: int) -> float:
        return self.latency_s + num_bytes / self.bytes_per_s


def choose_tier(tiers: Iterable[Tier], num_bytes: int, recompute_s: float) -> Tier | None:
    """The cheapest tier with room that loads in time; of equally cheap ones the fastest. None: drop it."""
    worth = [tier for tier in tiers if tier.num_free_bytes >= num_bytes and tier.load_s(num_bytes) <= recompute_s]
    return min(worth, key=lambda tier: (tier.price, tier.load_s(num_bytes), tier.name), default=None)
