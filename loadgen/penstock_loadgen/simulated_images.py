"""Pictures in simulated prompts."""

from dataclasses import dataclass, replace

from penstock.simulator.workload import RequestSpec


@dataclass(frozen=True, slots=True)
class SimulatedImageSpec:
    """Images of every request. A 4032 x 3024 picture is 10 tiles of 1024 patches for MiniCPM-V, of 64 tokens each."""

    num_images: int = 0
    patches: int = 10240  # of each
    tokens: int = 640


def with_images(request: RequestSpec, images: SimulatedImageSpec) -> RequestSpec:
    """The request with images, whose tokens are added to its prompt."""
    if not images.num_images:
        return request
    return replace(
        request,
        num_prompt_tokens=request.num_prompt_tokens + images.num_images * images.tokens,
        num_images=images.num_images,
        patches_per_image=images.patches,
        tokens_per_image=images.tokens,
    )
