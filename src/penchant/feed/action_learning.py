"""What the responses since the training say of actions, beside what the model learnt.

For each action the trials since count as in training: one that is open at age a counts as F(a) = 1 - e^(-λ a)
of a trial, those that the training left open included. Their log-odds l move by the maximum of the posterior

    Δ = argmax  y (l + Δ) - n log(1 + e^(l + Δ)) - Δ² / 2 v

from y takings in n trials, v being the variance that the model left; so an action that came since is learnt
from its first responses. Sums alone are kept, so the state follows from the log however it is replayed.
"""

from collections.abc import Sequence
from typing import final

import numpy as np

from penchant.data.actions import TAKEN
from penchant.data.events import Acted
from penchant.data.interactions import Interactions
from penchant.kernel.arrays import F64
from penchant.models.action_trials import meanings, trials_of

_SEEN, _NOTHING = 2, 3
_STEPS = 20


@final
class Learning:
    """Counts by row of the live catalogue of actions. One thread folds, any number read."""

    def __init__(
        self, responses: Interactions, n_actions: int, *, haste: float, period: float, now: float
    ) -> None:
        self._haste = haste
        self._period = period
        # Row by row: trials begun, those of them still expected to end, takings, and when that was said.
        self._sums: F64 = np.zeros((4, n_actions))
        self._sums[3] = now
        trials = trials_of(responses, period=period, now=now)
        left = np.exp(-haste * (now - trials.start)) * trials.open
        self._sums[0] = self._sums[1] = np.bincount(trials.action, left, minlength=n_actions)

    def act(self, event: Acted, row: int, before: Interactions) -> None:
        """Take a response to the action ``row``; ``before`` is what the user did with it until then."""
        kind = int(meanings((*before.event_types, event.event_type))[-1])
        if kind == _NOTHING:
            return
        trials = trials_of(before, period=self._period, now=event.timestamp)
        begun: Sequence[float] = trials.start[trials.open].tolist()
        if kind == _SEEN and begun:
            return
        if row >= self._sums.shape[1]:  # only here: who asks meanwhile reads the sums as they were
            self._sums = _fitting(self._sums, row + 1, event.timestamp)
        asked, left, taken, said = self._sums[:, row]
        left *= np.exp(-self._haste * max(event.timestamp - said, 0.0))
        if begun:
            left -= np.exp(-self._haste * max(event.timestamp - begun[-1], 0.0))
        else:
            asked += 1.0
            left += float(kind == _SEEN)
        taken += float(event.event_type == TAKEN)
        self._sums[:, row] = asked, max(left, 0.0), taken, max(said, event.timestamp)

    def shifts(self, logits: F64, doubts: F64, now: float) -> tuple[F64, F64]:
        """Return by how much the log-odds of each action move, and the variance that is left then."""
        asked, left, taken, said = _fitting(self._sums, len(logits), now)
        trials = np.maximum(asked - left * np.exp(-self._haste * np.maximum(now - said, 0.0)), taken)
        moved = np.zeros(len(logits))
        for _ in range(_STEPS):
            p = 1 / (1 + np.exp(-(logits + moved)))
            slope, bend = taken - trials * p - moved / doubts, trials * p * (1 - p) + 1 / doubts
            # A step is held to 1: far off, where the curve is flat, Newton's would leap over the top.
            moved += np.clip(slope / bend, -1.0, 1.0)
        p = 1 / (1 + np.exp(-(logits + moved)))
        return moved, 1 / (trials * p * (1 - p) + 1 / doubts)


def _fitting(sums: F64, n: int, now: float) -> F64:
    """Return the sums of the first ``n`` actions; nothing is counted for those that came since."""
    more = n - sums.shape[1]
    if more <= 0:
        return sums[:, :n]
    new = np.zeros((4, more))
    new[3] = now
    return np.concatenate([sums, new], axis=1)
