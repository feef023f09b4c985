"""What users were asked to do, and whether they did it within a time: responses to actions as trials.

A trial begins when a user first sees an action and ends when the user takes it, chooses not to, or the
``period`` is over, which is a failure; seeing it again meanwhile changes nothing. Taking or refusing what
nobody saw begin is a trial of its own.

A trial that is still open at age a counts as so much of a failure as it is likely to become one, given that
the share F(a) of all takings within the period had come by that age (Chapelle 2014):

    weight = F (1 - p) / (1 - p F),   F(a) = (1 - e^(-λ a)) / (1 - e^(-λ period)),   p the action's own rate

so that what is new is neither left out, which would count only those who were quick, nor taken for a no.
"""

from dataclasses import dataclass, replace

import numpy as np

from penchant.data.actions import NOT_TAKEN, OFFERED, SHOWN, TAKEN, VIEWED
from penchant.data.interactions import Interactions
from penchant.kernel.arrays import F64, I64, Bools, Rows
from penchant.kernel.compiled import kernel

_REFUSED, _TAKEN, _SEEN, _NOTHING = 0, 1, 2, 3
_PRIOR_DELAYS = 10.0  # as if so many takings had come after a tenth of the period


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """n trials, by user, then action, then time. An open one ends at +inf, taken 0."""

    user: Rows
    action: Rows
    start: F64  # seconds, UTC
    end: F64
    taken: F64  # 1 or 0

    def __len__(self) -> int:
        return len(self.user)

    @property
    def open(self) -> Bools:
        """Return which are not decided yet."""
        return np.isinf(self.end)

    def of_one(self) -> "Trials":
        """Return the trials of one user as those of user 0."""
        return replace(self, user=np.zeros(len(self), np.int32))

    @classmethod
    def joined(cls, first: "Trials", second: "Trials") -> "Trials":
        """Return ``first`` followed by ``second``."""
        return cls(
            user=np.concatenate([first.user, second.user]),
            action=np.concatenate([first.action, second.action]),
            start=np.concatenate([first.start, second.start]),
            end=np.concatenate([first.end, second.end]),
            taken=np.concatenate([first.taken, second.taken]),
        )

    def select(self, which: Bools | I64) -> "Trials":
        """Return the chosen ones."""
        return Trials(
            user=self.user[which],
            action=self.action[which],
            start=self.start[which],
            end=self.end[which],
            taken=self.taken[which],
        )


def meanings(event_types: tuple[str, ...]) -> I64:
    """Return what each event type says. Offers are seeing only where the app says nothing else of it."""
    said = VIEWED in event_types or SHOWN in event_types
    known = {NOT_TAKEN: _REFUSED, TAKEN: _TAKEN, VIEWED: _SEEN, SHOWN: _SEEN}
    if not said:
        known[OFFERED] = _SEEN
    return np.array([known.get(name, _NOTHING) for name in event_types] or [_NOTHING])


def trials_of(responses: Interactions, *, period: float, now: float) -> Trials:
    """Return the trials in ``responses`` (items are actions) as of ``now``, with a ``period`` in seconds."""
    kind = meanings(responses.event_types)[responses.event_type]
    # What a user did at the moment of seeing comes after the seeing.
    order = np.lexsort((-kind, responses.timestamp, responses.item, responses.user))
    order = order[kind[order] != _NOTHING]
    user, action = responses.user[order], responses.item[order]
    n, first, start, end, taken = _walk(user, action, responses.timestamp[order], kind[order], period, now)
    at = first[:n]
    return Trials(user=user[at], action=action[at], start=start[:n], end=end[:n], taken=taken[:n])


@kernel()
def _walk(
    user: Rows, action: Rows, time: F64, kind: I64, period: float, now: float
) -> tuple[int, I64, F64, F64, F64]:
    size = len(user)
    first, taken = np.empty(size, np.int64), np.zeros(size)
    start, end = np.empty(size), np.empty(size)
    n = 0
    i = 0
    while i < size:
        begun = -1  # where the open trial began
        j = i
        while j < size and user[j] == user[i] and action[j] == action[i]:
            if begun >= 0 and time[j] - time[begun] > period:
                first[n], start[n], end[n] = begun, time[begun], time[begun] + period
                n += 1
                begun = -1
            if kind[j] == 2:
                begun = j if begun < 0 else begun
            else:
                at = j if begun < 0 else begun
                first[n], start[n], end[n] = at, time[at], time[j]
                taken[n] = 1.0 if kind[j] == 1 else 0.0
                n += 1
                begun = -1
            j += 1
        if begun >= 0:
            over = now - time[begun] >= period
            first[n], start[n] = begun, time[begun]
            end[n] = time[begun] + period if over else np.inf
            n += 1
        i = j
    return n, first, start, end, taken


def haste_of(trials: Trials, *, period: float) -> float:
    """Return λ, a second: 1 over the mean time from seeing to taking."""
    waited = (trials.end - trials.start)[(trials.taken > 0) & (trials.end > trials.start)]
    mean = (waited.sum() + _PRIOR_DELAYS * period / 10) / (len(waited) + _PRIOR_DELAYS)
    return float(1 / max(mean, 1.0))


def weights_of(trials: Trials, rates: F64, *, haste: float, period: float, now: float) -> F64:
    """Return how much of a trial each is, (n,): 1 once decided; ``rates`` (n,) are the actions' own."""
    age = np.clip(now - trials.start, 0.0, period)
    share = np.expm1(-haste * age) / np.expm1(-haste * period)
    return np.where(trials.open, share * (1 - rates) / np.maximum(1 - rates * share, 1e-9), 1.0)


def rates_of(trials: Trials, n_actions: int) -> F64:
    """Return the share of each action's trials in which it was taken, drawn to that of all of them."""
    decided = trials.select(~trials.open)
    every = (decided.taken.sum() + 1) / (len(decided) + 2)
    taken = np.bincount(decided.action, decided.taken, minlength=n_actions)
    tried = np.bincount(decided.action, minlength=n_actions)
    return (taken + 10 * every) / (tried + 10)
