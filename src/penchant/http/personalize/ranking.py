"""Scores as Amazon tells them: shares of the list that sum to 1."""

import math
from collections.abc import Sequence


def shares(scores: Sequence[float | None]) -> list[float | None]:
    """Return the softmax over the items that have a score; None where there is none."""
    known = [score for score in scores if score is not None]
    if not known:
        return [None] * len(scores)
    top = max(known)
    weights = [None if score is None else math.exp(score - top) for score in scores]
    total = sum(weight for weight in weights if weight is not None)
    return [None if weight is None else weight / total for weight in weights]
