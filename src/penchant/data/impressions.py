"""How often each item was shown, counted as the log is read."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import final

import duckdb
import pyarrow as pa

from penchant.data.eventlog import COLUMNS
from penchant.kernel.arrow import ArrowBatch, pc

_SERVED = ["timestamp", "event_id", "slots"]
_SLOTS = """
SELECT item_id, COUNT(*) FROM (
  SELECT UNNEST(json_extract_string(slots, '$[*].item_id')) AS item_id FROM served
  WHERE timestamp <= $1 AND event_id NOT IN (SELECT name FROM named)
) GROUP BY item_id
"""


@final
class Impressions:
    """Counts what was shown up to ``cutoff``: what an action says it was shown stands for the feed it names.

    First the actions pass through `of_actions`, then `counts` takes the served feeds. A feed that several
    actions name counts once, as the first of them says.
    """

    COLUMNS = ("timestamp", "impression", "recommendation_id")
    """What must be read of an action."""

    def __init__(self, cutoff: float | None) -> None:
        self._until = float("inf") if cutoff is None else cutoff
        self._counts: Counter[str] = Counter()
        self._named: set[str] = set()

    def of_actions(self, batches: Iterable[ArrowBatch]) -> Iterator[ArrowBatch]:
        """Count the impressions of actions and pass the batches on."""
        for batch in batches:
            if batch["impression"].null_count < batch.num_rows:
                self._count(batch)
            yield batch

    def _count(self, batch: ArrowBatch) -> None:
        said = batch.filter(
            pc.and_(batch["impression"].is_valid(), pc.less_equal(batch["timestamp"], self._until))
        )
        new = pa.array(map(self._first, said["recommendation_id"].to_pylist()), pa.bool_())
        shown = pc.value_counts(pc.list_flatten(said["impression"].filter(new)))
        values, counts = shown.field("values").to_pylist(), shown.field("counts").to_pylist()
        self._counts.update(dict(zip(values, counts, strict=True)))

    def _first(self, request: str | None) -> bool:
        if request in self._named:
            return False
        if request is not None:
            self._named.add(request)
        return True

    def counts(self, served: Iterable[ArrowBatch]) -> Mapping[str, int]:
        """Return the counts after the served feeds, batches with timestamp, event_id and slots."""
        batches = iter(served)
        first = next(batches, None)
        if first is None:
            return self._counts
        schema = pa.schema([COLUMNS["served"].field(name) for name in _SERVED])
        rest = (batch.select(_SERVED) for one in ([first], batches) for batch in one)
        with duckdb.connect() as connection:
            connection.register("served", pa.RecordBatchReader.from_batches(schema, rest))
            connection.register("named", pa.table({"name": pa.array(self._named, pa.string())}))
            found = connection.execute(_SLOTS, [self._until]).fetchall()
        self._counts.update(dict(found))
        return self._counts
