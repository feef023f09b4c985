"""Data insights: what is odd in a dataset, in plain words, with numbers and what to do about it.

The rules of Amazon Personalize (columns with gaps, too many categories or event types, one time for all rows,
its minimum of interactions and users) and what else has spoilt recommendations: duplicates, one user or item
that dominates, gaps in time, clicks that are all on one position.
"""

from penchant.data.eventlog import EventLog
from penchant.data.insights_columns import column_insights
from penchant.data.insights_events import event_insights
from penchant.data.insights_finding import Insight
from penchant.data.insights_positions import position_insights
from penchant.data.snapshot import Snapshot

__all__ = ["Insight", "insights"]

_ORDER = ("problem", "warning", "note")


def insights(snapshot: Snapshot, log: EventLog | None = None) -> list[Insight]:
    """Return what is noteworthy about a dataset, problems first; nothing for a healthy one.

    With the ``log`` it came from, also what the positions of clicked items say.
    """
    found = [*event_insights(snapshot), *column_insights(snapshot)]
    if log is not None:
        found += position_insights(log, upto=snapshot.head)
    return sorted(found, key=lambda insight: _ORDER.index(insight.level))
