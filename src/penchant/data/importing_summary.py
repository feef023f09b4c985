"""What an import did, for machines as a struct and for people as sentences."""

import msgspec

from penchant.data.quarantine import WORDS, Reason
from penchant.data.rows_properties import PropertyType


class TableSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One table: every row read was stored, was known, or was rejected."""

    table: str
    files: tuple[str, ...]
    read: int
    stored: int
    known: int  # in the log already
    rejected: dict[Reason, int]  # most frequent first
    properties: dict[str, PropertyType]  # columns without a meaning of their own, and what they look like
    notes: tuple[str, ...]
    quarantine: str | None  # the file with the rejected rows

    def sentences(self) -> list[str]:
        """Return the summary in plain words."""
        said = [f"{self.table}: {_rows(self.read)} read, {self.stored:,} stored."]
        if self.known:
            said.append(f"{_rows(self.known)} known already.")
        if self.rejected:
            reasons = ", ".join(f"{WORDS[reason]} ({n:,})" for reason, n in self.rejected.items())
            said.append(f"{_rows(sum(self.rejected.values()))} rejected: {reasons}. See {self.quarantine}.")
        if self.properties:
            kept = ", ".join(f"{name} ({kind})" for name, kind in self.properties.items())
            said.append(f"Other columns, kept as properties: {kept}.")
        return [*said, *self.notes]


class ImportSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did, table by table."""

    tables: tuple[TableSummary, ...]

    @property
    def stored(self) -> int:
        """Return how many rows were stored."""
        return sum(table.stored for table in self.tables)

    @property
    def rejected(self) -> int:
        """Return how many rows were rejected."""
        return sum(sum(table.rejected.values()) for table in self.tables)

    def sentences(self) -> list[str]:
        """Return the summary in plain words."""
        return [sentence for table in self.tables for sentence in table.sentences()]


def _rows(n: int) -> str:
    return f"{n:,} row{'' if n == 1 else 's'}"
