"""A clock that tests hold in their hand."""


class FakeClock:
    """Tells the time it was set to."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.time = now

    def now(self) -> float:
        """Return the time set."""
        return self.time

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.time += seconds
