"""What encoding images takes on one encoder: linear in patches, for vision towers attend within one tile or image."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EncodeCost:
    """T = base + num_patches * s_per_patch. The base includes what one more batch or shard costs: RPC and transfer."""

    base_s: float
    s_per_patch: float

    def seconds(self, num_patches: int) -> float:
        return self.base_s + self.s_per_patch * num_patches if num_patches > 0 else 0.0

    def max_patches(self, time_s: float) -> int:
        """Most patches that are encoded within `time_s`."""
        return max(0, int((time_s - self.base_s) / self.s_per_patch + 1e-9))  # 1e-9: whole but for rounding stays whole
