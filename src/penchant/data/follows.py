"""Who follows whom, as columns."""

from dataclasses import dataclass

from penchant.kernel.arrays import F64, Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Follows:
    """n follow edges: rows of the users vocabulary, with the time the follow began."""

    follower: Rows  # (n,)
    followed: Rows  # (n,)
    timestamp: F64  # (n,)
