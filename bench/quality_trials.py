"""Trials that outlive a run: the search is seeded, so one that was broken off can be replayed and goes on."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from penchant.data.splits import Split

FOLDER = "PENCHANT_TRIALS"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What trials on one validation part reached, a line each in a file; without a file only while it lives.

    The code that reached them is not looked at: after a change to a recipe, begin with an empty folder.
    """

    part: str  # fingerprint of the validation part
    file: Path | None
    known: dict[str, float] = field(default_factory=dict[str, float])

    @classmethod
    def of(cls, name: str, validation: Split) -> "Kept":
        """Return those of the folder that PENCHANT_TRIALS names."""
        folder = os.environ.get(FOLDER)
        if folder is None:
            return cls(part=validation.fingerprint, file=None)
        file = Path(folder) / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = file.read_bytes().splitlines() if file.exists() else []
        return cls(part=validation.fingerprint, file=file, known=dict(map(msgspec.json.decode, lines)))

    def remembered(
        self, side: str, objective: Callable[[Mapping[str, Any]], float]
    ) -> Callable[[Mapping[str, Any]], float]:
        """Return ``objective`` of a side, called only for fields it was not called for before."""

        def reached(fields: Mapping[str, Any]) -> float:
            key = msgspec.json.encode([self.part, side, fields], order="sorted").decode()
            if key not in self.known:
                self.known[key] = objective(fields)
                if self.file is not None:
                    with self.file.open("ab") as lines:
                        lines.write(msgspec.json.encode([key, self.known[key]]) + b"\n")
            return self.known[key]

        return reached
