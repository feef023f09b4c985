"""Import: files of tables into the event log, every row stored, known already, or in quarantine."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from penchant.data.eventlog import Appended, EventLog
from penchant.data.importing_summary import ImportSummary, TableSummary
from penchant.data.quarantine import Quarantine, Reason
from penchant.data.readers import Source, open_sources
from penchant.data.rows import RowReader
from penchant.data.rows_properties import PropertyKinds
from penchant.data.schema import TABLES, Table, TableName
from penchant.kernel.arrow import ArrowBatch
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Progress


def import_files(
    log: EventLog,
    *,
    users: Sequence[Path] = (),
    items: Sequence[Path] = (),
    interactions: Sequence[Path] = (),
    follows: Sequence[Path] = (),
    actions: Sequence[Path] = (),
    action_interactions: Sequence[Path] = (),
    quarantine: Path,
    strict: bool = False,
    now: float,
    progress: Progress,
) -> ImportSummary:
    """Read files into the log; each table is stored whole or not at all, and a second time stores nothing.

    All headers are checked before anything is stored. Rows that cannot be stored are counted by reason and
    written to a file in the folder ``quarantine``. ``now`` is seconds UTC: times more than a day later are
    refused. With ``strict`` all rows of all tables are read first, and one bad row refuses everything.

    Raises:
        NotFound: a file is not there.
        InputError: a file is empty, unreadable, of an unknown kind or has a wrong header; or ``strict`` and
            there is a bad row.
        PenchantError: the disk is full.
    """
    given: dict[TableName, Sequence[Path]] = {
        "users": users,
        "items": items,
        "follows": follows,
        "interactions": interactions,
        "actions": actions,
        "action_interactions": action_interactions,
    }
    if not any(given.values()):
        raise InputError("no file was named.", fix=f"Name at least one of {', '.join(TABLES)}.")
    stamp = datetime.fromtimestamp(now, tz=UTC).strftime("%Y%m%d-%H%M%S")
    tables = [
        _TableImport(
            TABLES[name],
            [source for path in paths for source in open_sources(path, TABLES[name])],
            Quarantine(quarantine, f"{stamp}-{name}"),
            now,
        )
        for name, paths in given.items()
        if paths
    ]
    try:
        if strict:
            for table in tables:
                table.check(progress)
            _refuse_bad_rows(tables)
        return ImportSummary(tables=tuple(table.store(log, progress) for table in tables))
    finally:
        for table in tables:
            table.quarantine.close()


class _TableImport:
    """The import of one table, and what is counted on the way."""

    def __init__(self, table: Table, sources: list[Source], quarantine: Quarantine, now: float) -> None:
        self.table = table
        self.quarantine = quarantine
        self.rejected: Counter[Reason] = Counter()
        self.read = 0
        self._sources = sources
        self._now = now
        self._kinds = PropertyKinds()
        self._notes: list[str] = []

    def check(self, progress: Progress) -> None:
        """Read everything, storing nothing."""
        for _ in self._batches(progress, f"check {self.table.name}"):
            pass

    def store(self, log: EventLog, progress: Progress) -> TableSummary:
        """Read everything into the log."""
        self.read = 0
        self._notes.clear()
        appended = log.append_bulk(self.table.kind, self._batches(progress, f"import {self.table.name}"))
        return self._summary(appended)

    def _batches(self, progress: Progress, what: str) -> Iterator[ArrowBatch]:
        progress.start(what, sum(source.path.stat().st_size for source in self._sources))
        for source in self._sources:
            before = self.read
            reader = RowReader(self.table, str(source.path), now=self._now)
            for chunk in source.chunks():
                self.read += len(chunk) + len(chunk.faults)
                self._kinds.see(chunk.properties)
                rows = reader.read(chunk)
                self.rejected.update(fault.reason for fault in rows.faults)
                self.quarantine.add(rows.faults)
                if rows.batch.num_rows:
                    yield rows.batch
                progress.advance(chunk.size, f"{self.read:,} rows")
            self._note(source, reader, rows=self.read - before)

    def _note(self, source: Source, reader: RowReader, *, rows: int) -> None:
        notes = source.notes()
        if rows == 0:
            notes.append("there is a header and no rows")
        for name, (divisor, unit) in reader.units.found.items():
            if divisor != 1:
                notes.append(f"column {name} was in {unit}, stored as seconds")
        self._notes += [f"{source.path.name}: {note}." for note in notes]

    def _summary(self, appended: Appended) -> TableSummary:
        return TableSummary(
            table=self.table.name,
            files=tuple(str(source.path) for source in self._sources),
            read=self.read,
            stored=appended.stored,
            known=appended.known,
            rejected=dict(self.rejected.most_common()),
            properties=self._kinds.types(),
            notes=tuple(dict.fromkeys(self._notes)),
            quarantine=str(self.quarantine.path) if self.quarantine.path else None,
        )


def _refuse_bad_rows(tables: list[_TableImport]) -> None:
    bad = [table for table in tables if table.rejected]
    if not bad:
        return
    counts = "; ".join(f"{t.table.name}: {t.rejected.total():,} of {t.read:,} rows are bad" for t in bad)
    first = [fault.sentence() for table in bad for fault in table.quarantine.first][:5]
    where = ", ".join(str(table.quarantine.path) for table in bad)
    raise InputError(
        f"{counts}. Nothing was stored, as strict import was asked for. The first: " + "; ".join(first) + ".",
        fix=f"Mend them (all are in {where}), or import without strict to leave them out.",
    )
