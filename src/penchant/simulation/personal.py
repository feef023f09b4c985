"""Ours, one step at a time, so that a lift can be taken apart.

    score_ui = θ_i · exp(Σ_f w_f z_fui)

θ_i is the item's count, or from the step ``items`` on its posterior mean, for one user in five a draw. The
signals z are logarithms of ratios to everybody, each there from its step on:

    prior       what people with the same attributes take more of (recipe `lookalike`)
    categories  likes over expected likes in the item's category, of the user's persona, and of the user
    own         what the user's own likes add to `prior` once the recipe hands over to them

The powers w are a Poisson regression with a ridge on what was looked at so far, likes ~ θ̄_i exp(w·z), and
begin at 0: a step that does not help on these users is not followed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from penchant.data.interactions import Interactions
from penchant.kernel.arrays import F32, F64, AnyArray, Bools, Rows
from penchant.models.base import Queries
from penchant.models.lookalike import LookalikeModel
from penchant.simulation.feeds import best
from penchant.simulation.posterior import ItemPosterior
from penchant.simulation.scene import Known

_RIDGE = 60.0
_MOST_PAIRS = 200_000  # of what was looked at, the newest so many count for the powers


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What is switched on."""

    prior: bool = False
    items: bool = False
    categories: bool = False
    own: bool = False


class Personal:
    """``model`` learnt from the past alone; ``persona`` (n,) of 0..k-1."""

    def __init__(self, known: Known, model: LookalikeModel, persona: Rows, steps: Steps) -> None:
        self.known, self.persona, self.steps = known, persona, steps
        self.count: F64 = known.popularity.copy()
        self.items = ItemPosterior(known)
        self.ratios = CategoryRatios(known, persona)
        self.lifts = Lifts(known, model)
        self.powers: F64 = np.zeros(2 * steps.categories + steps.prior + steps.own)
        self._past: list[tuple[F64, F64, F64]] = []
        self._shown: F64 = np.zeros((0, 0, 0))

    def show(self, who: Rows, offered: Bools, k: int, rng: Generator) -> Rows:
        """Return the items of the highest score."""
        base = self.items.explore(len(who), rng) if self.steps.items else self.count[None]
        self._shown = self._signals(who)
        return best(base * np.exp(np.tensordot(self.powers, self._shown, 1)), offered, k)

    def learn(self, who: Rows, items: Rows, seen: Bools, liked: Bools) -> None:
        """Learn items, categories, the users' own taste, and how much each says."""
        self.count += np.bincount(items[liked], minlength=len(self.count))
        self.items.learn(items, seen, liked)
        row, place = np.nonzero(seen)
        item, won = items[row, place], liked[row, place].astype(np.float64)
        usual = self.items.mean()[item]
        signals = self._shown[:, row, item]
        self.ratios.learn(who[row], self.known.category[item], won, usual)
        self.lifts.learn(who[row[won > 0]], item[won > 0])
        self._past.append((signals, usual, won))
        self._weigh()

    def _signals(self, who: Rows) -> F64:
        """Return z (signals, m, N)."""
        parts: list[AnyArray] = []
        if self.steps.prior:
            parts.append(self.lifts.of_prior(who))
        if self.steps.categories:
            parts += [h[:, self.known.category] for h in self.ratios.logs(who)]
        if self.steps.own:
            parts.append(self.lifts.of_own(who))
        return np.stack(parts) if parts else np.zeros((0, len(who), len(self.count)))

    def _weigh(self) -> None:
        """Newton steps of max_w Σ y w·z - θ̄ exp(w·z) - ½ ridge ‖w‖²."""
        if not len(self.powers):
            return
        z, usual, won = (np.concatenate([part[i] for part in self._past], axis=-1) for i in range(3))
        z, usual, won = z[:, -_MOST_PAIRS:], usual[-_MOST_PAIRS:], won[-_MOST_PAIRS:]
        z = z - (z @ usual / usual.sum())[:, None]  # θ̄ holds what is common to all
        for _ in range(4):
            rate = usual * np.exp(np.clip(self.powers @ z, -3, 3))
            slope = z @ (won - rate) - _RIDGE * self.powers
            bend = (z * rate) @ z.T + _RIDGE * np.eye(len(z))
            self.powers = np.clip(self.powers + np.linalg.solve(bend, slope), 0.0, 2.0)


class CategoryRatios:
    """Likes over expected likes by category, of each persona and of each user within it.

    h = (m + Σ likes) / (m + Σ expected): a Gamma of mean 1 and weight m updated by a Poisson count.
    """

    def __init__(self, known: Known, persona: Rows, *, group: float = 50.0, user: float = 3.0) -> None:
        c, k = len(known.categories), int(persona.max()) + 1
        self.persona, self.weights = persona, (group, user)
        self.likes: tuple[F64, F64] = (np.zeros((k, c)), np.zeros((len(persona), c)))
        self.expected: tuple[F64, F64] = (np.zeros((k, c)), np.zeros((len(persona), c)))

    def logs(self, who: Rows) -> tuple[F64, F64]:
        """Return log h of the users' personas and of the users, each (m, C)."""
        return self._log(0, self.persona[who]), self._log(1, who)

    def learn(self, who: Rows, category: AnyArray, won: F64, usual: F64) -> None:
        """Add pairs (p,) of user and category: liked or not, and the chance that was usual."""
        group = self.persona[who]
        within = usual * np.exp(self._log(0, group))[np.arange(len(who)), category]
        for level, (node, expected) in enumerate(((group, usual), (who, within))):
            np.add.at(self.likes[level], (node, category), won)
            np.add.at(self.expected[level], (node, category), expected)

    def _log(self, level: int, rows: Rows) -> F64:
        m = self.weights[level]
        return np.log((m + self.likes[level][rows]) / (m + self.expected[level][rows]))


class Lifts:
    """What the trained recipe says of a user over what it says of everybody, in logarithms."""

    def __init__(self, known: Known, model: LookalikeModel) -> None:
        self.known, self.model = known, model
        self.directions = model.blend.index.by_row()[known.items].astype(np.float64)
        n, m = len(known.users), model.prior.shape[1]
        nobody = np.zeros((n, self.directions.shape[1] - m), np.float32)
        shared = np.zeros((1, m), np.float32)
        shared[0, 0] = 1.0
        nothing = np.zeros(n, np.int64)
        usual = model.blend.vectors(nobody[:1], shared, nothing[:1], np.inf)
        self.usual: F64 = np.maximum((usual @ self.directions.T)[0], 1e-9)
        self.prior: F32 = model.blend.vectors(nobody, model.prior[known.users], nothing, np.inf)
        self._liked: list[tuple[Rows, Rows]] = []

    def of_prior(self, who: Rows) -> F64:
        """Return log of prior over everybody's, (m, N)."""
        return self._log(self.prior[who])

    def of_own(self, who: Rows) -> F64:
        """Return log of the hand-over's score over the prior's, (m, N)."""
        known = self.known
        row = np.full(known.past.n_users, -1, np.int32)
        row[known.users[who]] = np.arange(len(who), dtype=np.int32)
        told = known.past.interactions.mapped(users=row)
        if self._liked:
            user, item = (np.concatenate([part[i] for part in self._liked]) for i in (0, 1))
            at = row[known.users[user]]
            mine = at >= 0
            now = np.full(int(mine.sum()), known.past.cutoff)
            new = Interactions.of(user=at[mine], item=known.items[item[mine]], timestamp=now)
            told = Interactions.joined(told, new)
        queries = Queries(users=known.users[who], histories=told, now=known.past.cutoff)
        return self._log(self.model.vectors(queries)) - self.of_prior(who)

    def learn(self, who: Rows, items: Rows) -> None:
        """Remember likes."""
        self._liked.append((who, items))

    def _log(self, vectors: F32) -> F64:
        return np.log(np.clip(vectors @ self.directions.T / self.usual, 0.1, 10.0))
