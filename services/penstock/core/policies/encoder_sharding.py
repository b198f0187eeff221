"""Which encoder takes which images of one request: EPD's intra-request parallelism, with unequal images and loads.

EPD disaggregation (arXiv 2501.05460): a request's images are shards, spread over encoders; prefill starts when all have
arrived, so the time that counts is the last one's:

    T = max over encoders e of ( queued_s(e) + T_encode(patches of e's shard) )                    [s]
    T_encode(n) = base + n * s_per_patch

The paper deals round-robin over idle encoders, which this is for equal images and loads: ceil(images / encoders) each.
Otherwise largest image first to whoever would be done first, at most 4/3 - 1/(3m) of the optimum on m idle encoders
when the base is 0 (Graham 1969).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penstock.core.encode_cost import EncodeCost


@dataclass(frozen=True, slots=True)
class Sharding:
    """Image indices for each encoder that gets any, and when the last of them is done."""

    shards: Mapping[str, tuple[int, ...]]
    finished_s: float


def shard(
    num_patches: Sequence[int], queued_s: Mapping[str, float], cost: EncodeCost, max_shards: int | None = None
) -> Sharding:
    """Spread images of `num_patches` each over encoders with `queued_s` of work ahead, over at most `max_shards`.

    The least loaded encoders are used. A further encoder gets a shard only where that ends earlier, so small images
    stay together. Without encoders or images there are no shards.
    """
    names = sorted(queued_s, key=lambda name: (queued_s[name], name))[:max_shards]
    patches = dict.fromkeys(names, 0)
    images: dict[str, list[int]] = {name: [] for name in names}

    def finish_s(name: str, more: int) -> float:
        return queued_s[name] + cost.seconds(patches[name] + more)

    if names:
        for index in sorted(range(len(num_patches)), key=lambda index: -num_patches[index]):
            chosen = min(names, key=lambda name: finish_s(name, num_patches[index]))
            patches[chosen] += num_patches[index]
            images[chosen].append(index)
    shards = {name: tuple(sorted(indices)) for name, indices in images.items() if indices}
    return Sharding(shards, max((finish_s(name, 0) for name in shards), default=0.0))
