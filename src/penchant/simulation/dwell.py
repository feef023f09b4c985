"""How long a liked item is stayed with: from the pauses between what real users did, a stand-in for dwell.

A pause is the time to the same user's next interaction, if that comes within 30 minutes. Where pauses are few
they say nothing of a stay: the items of a basket are bought at one moment, and what follows soon is another
till. An item's mean is drawn to everybody's as if 20 pauses of that mean had been seen; single stays scatter
around it as the logs of pauses do.
"""

import numpy as np
from numpy.random import Generator

from penchant.data.interactions import Interactions
from penchant.kernel.arrays import F32, F64, Rows, readonly
from penchant.kernel.clock import MINUTE
from penchant.simulation.scene import Scene

_LONGEST = 30 * MINUTE
_FEWEST = 100
_LEAST_SHARE = 0.1  # of the interactions that a pause follows; of news clicks 63% have one, of groceries 1%
_SHRINK = 20.0


def stay_minutes(scene: Scene, *, rng: Generator) -> F32 | None:
    """Return the minutes (n, N) of each user with each item on offer; None when the data has no pauses."""
    item, pause = _pauses(scene.everything.interactions)
    if len(pause) < max(_FEWEST, _LEAST_SHARE * len(scene.everything.interactions)):
        return None
    count = np.bincount(item, minlength=scene.everything.n_items)
    total = np.bincount(item, weights=pause, minlength=scene.everything.n_items)
    usual = float(pause.mean())
    mean = ((total + _SHRINK * usual) / (count + _SHRINK))[scene.known.items]
    sd = float(np.log(pause).std())
    scatter = np.exp(rng.normal(-sd * sd / 2, sd, (len(scene.known.users), len(mean))))
    return readonly((mean * scatter / MINUTE).astype(np.float32))


def _pauses(events: Interactions) -> tuple[Rows, F64]:
    """Return the item and the seconds of every pause."""
    order = np.lexsort((events.timestamp, events.user))
    user, time = events.user[order], events.timestamp[order]
    gap = np.diff(time)
    valid = (user[1:] == user[:-1]) & (gap > 0) & (gap <= _LONGEST)
    return events.item[order][:-1][valid], gap[valid]
