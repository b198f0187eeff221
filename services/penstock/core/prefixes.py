"""What a router knows of one prompt's prefix: who will have it, and from whom it can be fetched now."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.core.types import WorkerRef


@dataclass(frozen=True, slots=True)
class Prefixes:
    """`cached`: leading tokens by worker_id, those included that are still being computed there. `num_fetchable` of
    them are in the cache of `source` now, more than in any other; 0 where nothing is fetched."""

    cached: Mapping[str, int] = field(default_factory=dict)
    num_fetchable: int = 0
    source: WorkerRef | None = None
