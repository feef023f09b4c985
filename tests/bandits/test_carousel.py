"""A carousel simulated after Bendada et al. 2020 (Deezer): 12 places, a rate for each segment and playlist.

Of each segment 200 users come a day for 100 days, as in the paper, and see a list each. Clicks are
independent given the rates; what was looked at follows the cascade: down to the last click, or the first
three places when there is none. Regret is the best list's expected clicks minus the shown list's. Rates are
logistic: a playlist's own appeal, and how well its taste fits the segment's. With less traffic the gap is
smaller: at 60 users a day for 80 days and 100 playlists the ratio is .73.
"""

from collections.abc import Callable

import numpy as np

from penchant.bandits.discounted import Counts, EpsilonGreedy, Thompson

SEGMENTS, PLAYLISTS, PLACES, FIRST = 3, 300, 12, 3
DAYS, USERS = 100, 200


def rates(rng: np.random.Generator) -> np.ndarray:
    fit = rng.normal(size=(SEGMENTS, 6)) @ rng.normal(size=(6, PLAYLISTS)) / np.sqrt(6)
    logit = -4.6 + 0.6 * rng.normal(size=PLAYLISTS) + 0.9 * fit
    return 1 / (1 + np.exp(-logit))


def greedy_lists(policy: Counts, rng: np.random.Generator, n: int) -> np.ndarray:
    """At each place another playlist with probability epsilon, else the best mean that is left."""
    assert isinstance(policy, EpsilonGreedy)
    # Ties of the mean are broken at random, anew for each user.
    order = np.argsort(-policy.means() + 1e-12 * rng.random((n, PLAYLISTS)), axis=1)
    key = np.empty((n, PLAYLISTS))
    np.put_along_axis(key, order, np.arange(PLAYLISTS, dtype=np.float64)[None].repeat(n, axis=0), axis=1)
    user, place = np.nonzero(rng.random((n, PLACES)) < policy.epsilon)
    key[user, rng.integers(0, PLAYLISTS, len(user))] = place - 0.5
    return np.argsort(key, axis=1)[:, :PLACES]


def sampled_lists(policy: Counts, rng: np.random.Generator, n: int) -> np.ndarray:
    """The largest draws of the posteriors, drawn anew for each user."""
    assert isinstance(policy, Thompson)
    a, b = policy.posterior()
    return np.argsort(-rng.beta(a, b, (n, PLAYLISTS)), axis=1)[:, :PLACES]


def regret(
    make: Callable[[], Counts], lists_of: Callable[[Counts, np.random.Generator, int], np.ndarray], seed: int
) -> float:
    rng = np.random.default_rng(seed)
    p = rates(rng)
    best = np.sort(p, axis=1)[:, -PLACES:].sum(axis=1)
    policies = [make() for _ in range(SEGMENTS)]
    lost = 0.0
    for _ in range(DAYS):
        for segment, policy in enumerate(policies):
            lists = lists_of(policy, rng, USERS)
            chance = p[segment][lists]
            lost += float((best[segment] - chance.sum(axis=1)).sum())
            clicked = rng.random(lists.shape) < chance
            last = np.where(clicked.any(axis=1), PLACES - clicked[:, ::-1].argmax(axis=1), FIRST)
            seen = np.arange(PLACES) < last[:, None]
            policy.update_batch(
                np.bincount(lists[seen], minlength=PLAYLISTS).astype(np.float64),
                np.bincount(lists[clicked], minlength=PLAYLISTS).astype(np.float64),
            )
    return lost


def test_segment_thompson_has_at_most_two_thirds_of_epsilon_greedys_regret() -> None:
    ratios: list[float] = []
    for seed in range(3):
        thompson = regret(lambda: Thompson(PLAYLISTS, prior_mean=0.01, prior_pulls=100), sampled_lists, seed)
        greedy = regret(lambda: EpsilonGreedy(PLAYLISTS, epsilon=0.1), greedy_lists, seed)
        ratios.append(thompson / greedy)
    assert np.mean(ratios) <= 0.65
