"""Filter expressions about users, decided on their table: ``INCLUDE UserID WHERE Users.country = "DE"``."""

import numpy as np

from penchant.data.interactions import Interactions
from penchant.feed.filter_parse import parse_filter
from penchant.feed.filter_run import Facts, compile_filter
from penchant.feed.item_columns import Columns
from penchant.kernel.arrays import Bools, readonly
from penchant.kernel.arrow import ArrowTable
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


def user_mask(users: ArrowTable, expression: str, *, now: float) -> Bools:
    """Return which users of a table, its first column their ids, pass (n,); NOW() is ``now``.

    Raises:
        InputError: the expression is wrong, is about items, or has parameters.
    """
    check_user_filter(expression)
    columns = Columns.of(users.drop_columns(["user_id"]))
    compiled = compile_filter(expression, columns)
    if compiled.parameters:
        raise InputError(
            f"there is no value for ${min(compiled.parameters)}.",
            where=expression[:200],
            fix="Write the value into the expression.",
        )
    facts = Facts(history=Interactions.none(()), user={}, parameters={}, now=now)
    return readonly(compiled.mask(columns, facts, np.arange(users.num_rows, dtype=np.int32)))
