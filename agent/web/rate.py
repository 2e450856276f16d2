"""A limit on how often something is done, for all callers together."""


class Rate:
    """Allows `per_minute` acts a minute, as many as that at once after a quiet minute. Times are monotonic seconds."""

    def __init__(self, per_minute: int) -> None:
        self._most = float(per_minute)
        self._left = self._most
        self._at_s: float | None = None

    def wait_s(self, now_s: float) -> float:
        """Count one act and return 0, or return how many seconds to wait before it is allowed."""
        if self._at_s is not None:
            self._left = min(self._most, self._left + (now_s - self._at_s) * self._most / 60.0)
        self._at_s = now_s
        if self._left < 1.0:
            return (1.0 - self._left) * 60.0 / self._most
        self._left -= 1.0
        return 0.0
