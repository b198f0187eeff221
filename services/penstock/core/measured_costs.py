"""What steps cost on this worker, learnt as they run: the router prices routes with it, the worker its next steps."""

from penstock.core.step_cost import StepCost


class _Line:
    """Fits y = base + slope * x, forgetting slowly."""

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self._weight = self._sum_x = self._sum_y = self._sum_xx = self._sum_xy = 0.0

    def add(self, x: float, y: float) -> None:
        keep = self._keep
        self._weight = self._weight * keep + 1.0
        self._sum_x = self._sum_x * keep + x
        self._sum_y = self._sum_y * keep + y
        self._sum_xx = self._sum_xx * keep + x * x
        self._sum_xy = self._sum_xy * keep + x * y

    @property
    def slope(self) -> float:
        spread = self._weight * self._sum_xx - self._sum_x**2
        if spread > 1e-9 * max(1.0, self._sum_xx):
            return max(0.0, (self._weight * self._sum_xy - self._sum_x * self._sum_y) / spread)
        return self._sum_y / self._sum_x if self._sum_x else 0.0  # all x alike: no base to tell apart

    @property
    def base(self) -> float:
        if not self._weight:
            return 0.0
        return max(0.0, (self._sum_y - self.slope * self._sum_x) / self._weight)


class MeasuredCosts:
    """Lines through prefill steps (by tokens) and decode steps (by sequences), and the mean decode interval."""

    def __init__(self, memory_steps: float = 100.0) -> None:
        keep = 1.0 - 1.0 / memory_steps
        self._prefill = _Line(keep)
        self._decode = _Line(keep)
        self._interval_s = 0.0

    def add_prefill(self, num_tokens: int, duration_s: float) -> None:
        """Learn from a step that ran `num_tokens`, prompt tokens among them."""
        self._prefill.add(num_tokens, duration_s)

    def add_decode_step(self, num_sequences: int, duration_s: float) -> None:
        """Learn from a step that only decoded."""
        self._decode.add(num_sequences, duration_s)

    def add_decode(self, interval_s: float) -> None:
        """Learn the time between two steps that both decoded."""
        self._interval_s += (interval_s - self._interval_s) * (0.1 if self._interval_s else 1.0)

    @property
    def prefill_s_per_token(self) -> float:
        return self._prefill.slope

    @property
    def prefill_base_s(self) -> float:
        return self._prefill.base

    @property
    def token_interval_s(self) -> float:
        return self._interval_s

    def step_cost(self) -> StepCost:
        """What the next steps are expected to cost; attention is not told apart from the rest. All zero at first."""
        prefill, decode = self._prefill, self._decode
        return StepCost(prefill.base, prefill.slope, 0.0, decode.base, 0.0, decode.slope)
