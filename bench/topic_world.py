"""A made-up world of interests with the properties that PinnerSage's paper gives its users, for its table.

Argued before anything was run, and not tuned for any variant:

- Topics lie close together: themes of fine topics, cosine about .5 within a theme and .85 within a topic,
  so that the threshold of relevance (.8) asks for the topic, not the theme.
- Interests are many and unequal: from 3 to some 30 a user, the n-th visited in proportion to 1 / n.
- Interests drift: three of ten last for ever, the others begin on any day and end after 45 days on average.
- A part of the actions, 15%, is noise: any item whatever, which belongs to no interest.
- Users differ: from one action in three days to some ten a day.

What is left open is how dense the catalogue is: a topic of few items fits into a part of the 400 candidates,
which then hold many topics whatever they are asked for; at the paper's scale a topic has more items than any
user is shown. So there are two worlds, with the same habits of users. The sparse one was run first; the dense
one was made because of what it showed.
"""

import numpy as np

from penchant.data.interactions import Interactions
from penchant.kernel.arrays import F32
from penchant.kernel.clock import DAY
from penchant.models.prod2vec import unit

SPARSE = (200, 10, 20)  # themes, topics of a theme, items of a topic
DENSE = (100, 5, 150)
D = 48
NOISE, LASTING, MEAN_DAYS, DAYS = 0.15, 0.3, 45.0, 100


def topic_world(seed: int, users: int, size: tuple[int, int, int]) -> tuple[Interactions, F32]:
    """Return what the users did on days 0 to ``DAYS``, and the items' vectors at length 1."""
    rng = np.random.default_rng(seed)
    themes, topics_of_one, items = size
    vectors = _items(rng, size)
    rows: list[tuple[int, int, float]] = []
    for user in range(users):
        n = 3 + min(int(rng.geometric(0.12)), 27)
        topics = rng.choice(themes * topics_of_one, n, replace=False)
        worth = rng.permutation(1.0 / np.arange(1, n + 1))
        begin = rng.uniform(-60, DAYS, n)
        end = begin + rng.exponential(MEAN_DAYS, n)
        lasting = rng.random(n) < LASTING
        lasting[0] = True  # somebody without any interest left would only make noise
        begin[lasting], end[lasting] = -np.inf, np.inf
        pace = float(np.clip(rng.lognormal(0.3, 0.9), 0.3, 10))
        for day in range(DAYS):
            alive = worth * (begin <= day) * (day < end)
            for moment in np.sort(rng.random(rng.poisson(pace))):
                if rng.random() < NOISE:
                    item = int(rng.integers(len(vectors)))
                else:
                    topic = int(rng.choice(topics, p=alive / alive.sum()))
                    item = topic * items + int(rng.integers(items))
                rows.append((user, item, DAY * (day + moment)))
    user_, item_, time_ = zip(*rows, strict=True)
    return Interactions.of(user=user_, item=item_, timestamp=time_), vectors


def _items(rng: np.random.Generator, size: tuple[int, int, int]) -> F32:
    """Return the vectors of all items, topic by topic: cosine .5 within a theme, .85 within a topic."""
    of_theme = rng.normal(size=(size[0], 1, 1, D)) * np.sqrt(0.5)
    of_topic = rng.normal(size=(*size[:2], 1, D)) * np.sqrt(0.35)
    own = rng.normal(size=(*size, D)) * np.sqrt(0.15)
    return unit((of_theme + of_topic + own).reshape(-1, D).astype(np.float32))
