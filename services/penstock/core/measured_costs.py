"""What steps cost on this worker, learnt as they run: the router prices routes with it."""


class MeasuredCosts:
    """Fits `seconds = base + per_token * tokens` to prefill steps and averages decode intervals, forgetting slowly."""

    def __init__(self, memory_steps: float = 100.0) -> None:
        self._keep = 1.0 - 1.0 / memory_steps
        self._weight = self._sum_x = self._sum_y = self._sum_xx = self._sum_xy = 0.0
        self._interval_s = 0.0

    def add_prefill(self, num_tokens: int, duration_s: float) -> None:
        """Learn from a step that ran `num_tokens`, prompt tokens among them."""
        keep = self._keep
        self._weight = self._weight * keep + 1.0
        self._sum_x = self._sum_x * keep + num_tokens
        self._sum_y = self._sum_y * keep + duration_s
        self._sum_xx = self._sum_xx * keep + num_tokens * num_tokens
        self._sum_xy = self._sum_xy * keep + num_tokens * duration_s

    def add_decode(self, interval_s: float) -> None:
        """Learn the time between two steps that both decoded."""
        self._interval_s += (interval_s - self._interval_s) * (0.1 if self._interval_s else 1.0)

    @property
    def prefill_s_per_token(self) -> float:
        spread = self._weight * self._sum_xx - self._sum_x**2
        if spread > 1e-9 * max(1.0, self._sum_xx):
            return max(0.0, (self._weight * self._sum_xy - self._sum_x * self._sum_y) / spread)
        return self._sum_y / self._sum_x if self._sum_x else 0.0  # all prompts equally long: no base to tell apart

    @property
    def prefill_base_s(self) -> float:
        if not self._weight:
            return 0.0
        return max(0.0, (self._sum_y - self.prefill_s_per_token * self._sum_x) / self._weight)

    @property
    def token_interval_s(self) -> float:
        return self._interval_s
