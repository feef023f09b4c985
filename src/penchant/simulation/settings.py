"""How a simulation is made; every number of it is printed on its page."""

from collections.abc import Mapping
from typing import Any

import msgspec

from penchant.kernel.errors import InputError


class SimulationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The disclosed defaults.

    Policies know the first ``known_share`` of the interactions; what is on offer, and how much it appeals,
    comes from the ``days`` before and after that moment (None: as long as what is left after it). A simulated
    user comes ``visits`` times and sees a feed of ``slots`` each time, reads it from the top and goes on
    after each place with probability ``patience``. ``rate`` is the mean chance that a new user likes what
    recent popularity shows first; users begin in ``waves``, one a tick, so that policies learn from those who
    came before.
    """

    known_share: float = 0.8
    days: float | None = None
    candidates: int = 400
    slots: int = 20
    visits: int = 3
    patience: float = 0.95
    rate: float = 0.1
    new_users: int = 1000
    known_users: int = 1000
    waves: int = 10
    least_events: int = 10  # a simulated user needs so many real ones, or nothing is known of their taste
    most_users: int = 20_000
    most_categories: int = 18
    factors: int = 32
    seeds: int = 5

    def __post_init__(self) -> None:
        for field in ("known_share", "patience", "rate"):
            if not 0 < getattr(self, field) < 1:
                raise ValueError(f"{field} is {getattr(self, field)}: it must lie between 0 and 1.")
        for field in ("candidates", "slots", "visits", "new_users", "known_users", "waves", "factors"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is {getattr(self, field)}: it must be at least 1.")
        if self.seeds < 2 or self.most_categories < 2:
            raise ValueError("seeds and most_categories must be at least 2.")
        if self.days is not None and not self.days > 0:  # a NaN is refused too
            raise ValueError(f"days is {self.days}: it must be above 0.")
        if self.slots * self.visits > self.candidates:
            needed = self.slots * self.visits
            raise ValueError(f"{self.visits} visits of {self.slots} slots need {needed} candidates or more.")


def settings_of(asked: Mapping[str, Any]) -> SimulationSettings:
    """Return the defaults with what was asked for; None asks for nothing.

    Raises:
        InputError: a value makes no sense.
    """
    try:
        return SimulationSettings(**{name: value for name, value in asked.items() if value is not None})
    except ValueError as error:
        raise InputError(str(error)) from None
