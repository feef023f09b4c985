"""What an insight is."""

from typing import Literal, TypeAlias

import msgspec

Level: TypeAlias = Literal["problem", "warning", "note"]


class Insight(msgspec.Struct, frozen=True, kw_only=True):
    """One thing about the data.

    ``rule`` names what found it, ``what`` says it in a sentence, ``numbers`` are the figures in it.
    problem: recommendations will be bad or impossible; warning: likely a fault in the data; note: good to
    know.
    """

    rule: str
    level: Level
    what: str
    numbers: dict[str, float]
    what_to_do: str


def percent(share: float) -> str:
    """Return a share as text: ``7%``, ``0.4%``."""
    return f"{share:.0%}" if share >= 0.01 or share == 0 else f"{share:.1%}"
