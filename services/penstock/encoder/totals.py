"""What an encoder has done since it started."""

from dataclasses import dataclass


@dataclass(slots=True)
class EncodeTotals:
    """For metrics; only grows."""

    num_asked_for: int = 0  # images
    num_images: int = 0  # through the vision tower
    num_batches: int = 0
    num_cache_hits: int = 0  # images that were encoded already, or were being encoded for somebody else
    seconds: float = 0.0  # of batches

    def add_batch(self, num_images: int, duration_s: float) -> None:
        self.num_batches += 1
        self.num_images += num_images
        self.seconds += duration_s
