"""Batch segments: the users most likely to want an item, or items with some attributes."""

from pathlib import Path
from typing import Any, final

import numpy as np

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.feed.filter_run import Facts, compile_filter
from penchant.feed.item_columns import Columns
from penchant.http.personalize.inference import asked_filters, text
from penchant.http.personalize.lines import Counts, answer_files
from penchant.http.personalize.tasks import Segment
from penchant.kernel.arrays import Rows, readonly
from penchant.kernel.errors import InputError, NotFound
from penchant.models.affinity import Affinity
from penchant.models.ials import IalsModel
from penchant.workspace.filters import FilterAsked
from penchant.workspace.service import Workspace


def segment(workspace: Workspace, task: Segment) -> Counts:
    """Answer the lines of a task from the model and the snapshot that are served."""
    pointer = workspace.registry.current()
    model = workspace.registry.open(task.model, pointer.models[task.model])
    if not isinstance(model, IalsModel):
        raise InputError("segments need a model of the recipe ials.", where=task.model)
    snapshot = Snapshot.open(workspace.registry.snapshot_folder(pointer.snapshot))
    finder = _Finder(task, model, snapshot, now=workspace.clock.now())
    return answer_files([Path(path) for path in task.inputs], Path(task.output), finder.answer)


@final
class _Finder:
    """The model and the tables that expressions are about, read once for all lines."""

    def __init__(self, task: Segment, model: IalsModel, snapshot: Snapshot, *, now: float) -> None:
        self._task = task
        self._model = model
        self._snapshot = snapshot
        self._now = now
        users = model.users.rows(snapshot.users.to_arrow())
        items = model.items.rows(snapshot.items.to_arrow())
        self._affinity = Affinity.of(model, snapshot.interactions.mapped(users=users, items=items))
        self._items = Columns.of(snapshot.item_table.drop_columns(["item_id"]))
        self._users = Columns.of(snapshot.user_table.drop_columns(["user_id"]))

    def answer(self, line: dict[str, Any]) -> dict[str, Any]:
        """Return the segment of one line."""
        asked = text(line, self._task.asks)
        by_item = self._task.asks == "itemId"
        items = self._item(asked) if by_item else self._of_attributes(asked)
        found = self._affinity.segment(items, self._task.k, without=self._without(line))
        told = {"output": {"recommendedUsers": self._model.users.ids(found.items)}}
        return told if by_item else {self._task.asks: asked, **told}

    def _item(self, item_id: str) -> Rows:
        row = self._model.items.row(item_id)
        if row < 0:
            raise NotFound(f"the model knows no item '{item_id}'.")
        return np.array([row], np.int32)

    def _of_attributes(self, expression: str) -> Rows:
        """Return the model's rows of the items of which an expression such as ``ITEMS.genre = "a"`` holds."""
        asked = FilterAsked(name="", expression=f"INCLUDE ItemID WHERE {expression}", parameters={})
        rows = self._rows(asked, self._items)
        if len(rows) == 0:
            raise NotFound(f"no item has {expression}.")
        own = self._model.items.rows(self._snapshot.items.ids(rows))
        return own[own >= 0]

    def _without(self, line: dict[str, Any]) -> Rows | None:
        """Return the model's rows of the users that the job's filter removes."""
        filters = asked_filters(self._task.filter, line)
        if not filters:
            return None
        kept = np.zeros(len(self._model.users), np.bool_)
        own = self._model.users.rows(self._snapshot.users.ids(self._rows(filters[0], self._users)))
        kept[own[own >= 0]] = True
        return readonly(np.flatnonzero(~kept).astype(np.int32))

    def _rows(self, asked: FilterAsked, columns: Columns) -> Rows:
        """Return the rows that an expression keeps: of items, or of users."""
        compiled = compile_filter(asked.expression, columns)
        if compiled.target != ("item" if columns is self._items else "user"):
            raise InputError("a segment is filtered by UserID, items are chosen by attributes.")
        facts = Facts(
            history=Interactions.none(self._snapshot.interactions.event_types),
            user={},
            parameters=asked.parameters,
            now=self._now,
        )
        everything = np.arange(columns.n_rows, dtype=np.int32)
        return everything[compiled.mask(columns, facts, everything)]
