"""Filter expressions about users, decided on a snapshot: ``INCLUDE UserID WHERE Users.country = "DE"``."""

import numpy as np

from penchant.data.interactions import Interactions
from penchant.data.snapshot import Snapshot
from penchant.feed.filter_parse import parse_filter
from penchant.feed.filter_run import Facts, compile_filter
from penchant.feed.item_columns import Columns
from penchant.kernel.arrays import Bools, readonly
from penchant.kernel.errors import InputError


def check_user_filter(expression: str) -> None:
    """Refuse what no snapshot could make right: the grammar, and what the expression is about.

    Raises:
        InputError: as `user_mask`.
    """
    if any(clause.target != "user" for clause in parse_filter(expression)):
        raise InputError(
            "an audience is filtered by UserID, not by ItemID.",
            where=expression[:200],
            fix='Write such as: INCLUDE UserID WHERE Users.country = "DE"',
        )


def user_mask(snapshot: Snapshot, expression: str) -> Bools:
    """Return which users pass (n_users,); NOW() is the snapshot's cut-off, so a rerun gives the same.

    Raises:
        InputError: the expression is wrong, is about items, or has parameters.
    """
    check_user_filter(expression)
    columns = Columns.of(snapshot.user_table.drop_columns(["user_id"]))
    compiled = compile_filter(expression, columns)
    if compiled.parameters:
        raise InputError(
            f"there is no value for ${min(compiled.parameters)}.",
            where=expression[:200],
            fix="Write the value into the expression.",
        )
    history = Interactions.none(snapshot.interactions.event_types)
    facts = Facts(history=history, user={}, parameters={}, now=snapshot.cutoff)
    return readonly(compiled.mask(columns, facts, np.arange(snapshot.n_users, dtype=np.int32)))
