"""The leaderboard: recipes, baselines and peers on one split, with intervals and paired differences."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from textwrap import wrap
from typing import Any, Literal

import msgspec
import numpy as np

from penchant.data.heldout import UNCHECKED
from penchant.data.snapshot import Snapshot
from penchant.data.splits import Split
from penchant.evaluation.intervals import (
    LEVEL,
    RESAMPLES,
    Difference,
    Interval,
    differences,
    interval,
    resampled_means,
    resamples_for,
)
from penchant.evaluation.metrics import AMAZON_CUTS, Catalogue, accuracy, amazon, beyond, cuts
from penchant.evaluation.protocols import Elsewhere, Peer, answers, checked, split_for
from penchant.evaluation.sampled import candidates_of, sampled_metrics, sampled_ranks, sampled_scores
from penchant.evaluation.variety import categories_of, miscalibration, serendipity
from penchant.kernel.arrays import F64, Rows
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Progress, Silent
from penchant.kernel.seeds import derive
from penchant.models.base import Recipe, Retriever
from penchant.models.measure import Cost, measured, train_measured
from penchant.models.popularity import Popularity

Kind = Literal["recipe", "baseline", "peer"]

BASELINES: Mapping[str, Recipe] = {
    "popularity (all time)": Popularity(window="all"),
    "popularity (30 days)": Popularity(window="30d"),
}
"""Always in the table: whoever does not beat recent popularity has personalised nothing."""

_BEYOND = {
    "gini": "Gini",
    "popularity_percentile": "popularity",
    "serendipity": "serendipity",
    "intra_list_distance": "distance",
    "miscalibration": "miscalibration",
}
"""Metric -> heading. Each is explained where it is computed, in `metrics` and `variety`."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One recommender. ``metrics`` are means over requests; ``intervals`` those that have one."""

    name: str
    kind: Kind
    config: dict[str, Any]
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    amazon: dict[str, float]  # under Amazon Personalize's keys
    train_cpu_seconds: float  # of a peer: training and answering together
    answer_cpu_seconds: float
    peak_mb: float = 0.0  # resident memory while training (a peer: and answering), the process's own included


class Leaderboard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Best first by ``metric``. Numbers of two tables may be compared when their fingerprints are equal."""

    protocol: str
    description: str
    fingerprint: str
    audit: list[str]
    snapshot: str  # digest of the training part
    requests: int
    items: int
    metric: str
    k: int
    seed: int
    level: float
    resamples: int
    entries: list[Entry]
    differences: list[Difference]
    left_out: list[str] = []  # recipes whose models give no items

    def best(self) -> Entry:
        """Return the first."""
        return self.entries[0]

    def rows(self) -> list[list[str]]:
        """Return the table as text: a row of headings, then one row an entry, best first."""
        k = self.k
        names = [f"{m}_at_{k}" for m in ("ndcg", "recall", "hit_rate", "mrr", "coverage", "novelty")]
        heads = [f"{m}@{k}" for m in ("NDCG", "recall", "hit rate", "MRR", "coverage", "novelty")]
        table = [["", heads[0], f"{self.level:.0%} interval", *heads[1:], "CPU s"]]
        for entry in self.entries:
            sure = entry.intervals[names[0]]
            numbers = [f"{entry.metrics[name]:.4f}" for name in names]
            cost = f"{entry.train_cpu_seconds + entry.answer_cpu_seconds:.1f}"
            table.append([entry.name, numbers[0], f"{sure.low:.4f} - {sure.high:.4f}", *numbers[1:], cost])
        return table

    def beyond_rows(self) -> list[list[str]]:
        """Return the table beyond accuracy: a row of headings, then one row an entry, in the same order."""
        names = [name for name in _BEYOND if f"{name}_at_{self.k}" in self.entries[0].metrics]
        heads = ["", *(f"{_BEYOND[name]}@{self.k}" for name in names)]
        numbers = (
            [f"{entry.metrics[f'{name}_at_{self.k}']:.4f}" for name in names] for entry in self.entries
        )
        return [heads, *([e.name, *row] for e, row in zip(self.entries, numbers, strict=True))]

    def difference_rows(self) -> list[list[str]]:
        """Return by how much the first beats each other as text: headings, then a row each."""
        own = [d for d in self.differences if d.first == self.entries[0].name]
        return [
            [f"{self.entries[0].name} against", f"NDCG@{self.k}", f"{self.level:.0%} interval", "p", ""],
            *(
                [
                    d.second,
                    f"{d.mean:+.4f}",
                    f"{d.low:+.4f} to {d.high:+.4f}",
                    f"{d.p_holm:.4f}",
                    self._sure(d),
                ]
                for d in own
            ),
        ]

    def text(self, width: int = 160) -> str:
        """Return the whole in plain lines of ``width`` characters: protocol, audit, tables, differences."""
        asked = [check for check in self.audit if not check.startswith(UNCHECKED)]
        facts = [
            f"Protocol {self.protocol}: {self.description}.",
            f"{self.requests:,} requests, {self.items:,} items, fingerprint {self.fingerprint[:12]}.",
            f"Audit: {len(asked)} checks for leaks passed. "
            + " ".join(f"{check}." for check in self.audit if check not in asked),
        ]
        lines = [line for fact in facts for line in wrap(fact, width)]
        both = [[*row, *more[1:]] for row, more in zip(self.rows(), self.beyond_rows(), strict=True)]
        lines += [*_aligned(both, width), *_aligned(self.difference_rows(), width)]
        lines += wrap("Differences are paired by user; p is after Holm's correction.", width)
        if self.left_out:
            lines += wrap(f"Left out, for they give no items: {', '.join(self.left_out)}.", width)
        return "\n".join(lines)

    def _sure(self, difference: Difference) -> str:
        return "" if difference.low > 0 and difference.p_holm < 1 - self.level else "may be chance"

    def json(self) -> bytes:
        """Return all of it as JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)


def evaluate(
    recipes: Mapping[str, Recipe],
    snapshot: Snapshot,
    protocol: str = "time",
    *,
    k: int = 10,
    seed: int = 42,
    progress: Progress | None = None,
    peers: Sequence[Peer] = (),
    prepare: Callable[[Snapshot], Snapshot] | None = None,
) -> Leaderboard:
    """Split ``snapshot`` by a protocol's name, train every recipe on the training part and compare them.

    ``prepare`` adds to the training part what is derived from it, such as the columns of `with_graph`.

    Raises:
        NotFound: there is no such protocol.
        InputError: the data leaves nothing to find, k is below 1, or two entries share a name.
        Defect: an answer breaks the rules of a ranking.
    """
    shown = progress or Silent()
    cuts([k])
    shown.start(f"split by {protocol}")
    split = split_for(snapshot, protocol, seed=seed)
    if prepare is not None:
        split = replace(split, train=prepare(split.train))
    return compare(recipes, split, at=[k], seed=seed, progress=shown, peers=peers)


def compare(
    recipes: Mapping[str, Recipe],
    split: Split,
    *,
    at: Sequence[int] = (10,),
    seed: int = 42,
    progress: Progress | None = None,
    peers: Sequence[Peer] = (),
) -> Leaderboard:
    """Compare on a split that is already made; the first of ``at`` is the k of the order.

    Metrics are measured at ``at`` and at Amazon's 5, 10 and 25. Recipes whose models give no items are named
    in ``left_out``. Errors as for `evaluate`.
    """
    every = {**_missing_baselines(recipes), **recipes}
    names = [*every, *(peer.name for peer in peers)]
    if len(set(names)) < len(names):
        raise InputError(f"two entries share a name among {', '.join(names)}.", fix="Rename one of them.")
    shown = progress or Silent()
    referee = _Referee(split, cuts([*at, *AMAZON_CUTS]), seed, shown)
    tried = {name: referee.recipe(name, recipe) for name, recipe in every.items()}
    found = [one for one in tried.values() if one is not None]
    found += [referee.peer(peer) for peer in peers]
    left_out = [name for name, one in tried.items() if one is None]
    return _table(found, split, k=at[0], seed=seed, left_out=left_out)


class _Measured(msgspec.Struct, frozen=True, kw_only=True):
    """An entry still without intervals, and its metrics a request."""

    entry: Entry
    values: dict[str, F64]  # each (n,)


class _Referee:
    """Asks everybody the same requests of one split and measures the answers."""

    def __init__(self, split: Split, at: tuple[int, ...], seed: int, progress: Progress) -> None:
        self.progress = progress
        self.split = split
        self.at = at
        self.seed = seed
        self.catalogue = Catalogue.of(split.train.pairs())
        self.categories = categories_of(split)
        self.candidates = candidates_of(split, derive(seed, "sampled negatives"))

    def recipe(self, name: str, recipe: Recipe) -> _Measured | None:
        """Train a recipe and measure its model; None when it gives no items."""
        model = train_measured(recipe, self.split.train, seed=self.seed, progress=self.progress)
        if not isinstance(model, Retriever):
            return None
        self.progress.start(f"measure {name}")
        with measured() as cost:
            lists = answers(model, self.split, self.at[-1])
        more: dict[str, F64] = {}
        if self.candidates is not None:
            more = sampled_metrics(sampled_ranks(sampled_scores(model, self.split, self.candidates)))
        kind: Kind = "baseline" if recipe in BASELINES.values() else "recipe"
        return self._judge(
            name, kind, model.card.config, lists, more, model.card.cpu_seconds, model.card.peak_mb, cost
        )

    def peer(self, peer: Peer) -> _Measured:
        """Have a peer train and answer."""
        self.progress.start(f"train and measure {peer.name}")
        with measured() as cost:
            lists = peer.top_many(self.split, self.at[-1])
        if isinstance(peer, Elsewhere):
            cost.cpu_seconds += peer.spent.cpu_seconds
            cost.peak_mb = peer.spent.peak_mb
        return self._judge(peer.name, "peer", {}, lists, {}, 0.0, cost.peak_mb, cost)

    def _judge(
        self,
        name: str,
        kind: Kind,
        config: dict[str, Any],
        lists: Rows,
        more: dict[str, F64],
        train_cpu_seconds: float,
        peak_mb: float,
        cost: Cost,
    ) -> _Measured:
        lists = checked(name, lists, self.split, self.at[-1])
        values = accuracy(lists, self.split.truth, self.at) | more
        metrics = {key: float(each.mean()) for key, each in values.items()}
        metrics |= beyond(lists, self.catalogue, self.at)
        metrics |= self._variety(lists)
        entry = Entry(
            name=name,
            kind=kind,
            config=config,
            metrics=metrics,
            intervals={},
            amazon=amazon(metrics),
            train_cpu_seconds=train_cpu_seconds,
            answer_cpu_seconds=cost.cpu_seconds,
            peak_mb=peak_mb,
        )
        return _Measured(entry=entry, values=values)

    def _variety(self, lists: Rows) -> dict[str, float]:
        """Return serendipity, and miscalibration where items have categories, at each k."""
        out: dict[str, float] = {}
        for k in self.at:
            out[f"serendipity_at_{k}"] = float(
                serendipity(lists, self.split, self.catalogue.counts, k).mean()
            )
            if self.categories is not None:
                found = miscalibration(lists, self.split, self.categories, k)
                if not np.isnan(found).all():
                    out[f"miscalibration_at_{k}"] = float(np.nanmean(found))
        return out


def _missing_baselines(recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Return the baselines that are not among ``recipes`` under another name."""
    return {name: recipe for name, recipe in BASELINES.items() if recipe not in recipes.values()}


def _table(found: list[_Measured], split: Split, *, k: int, seed: int, left_out: list[str]) -> Leaderboard:
    """Order the entries and add intervals and differences, all from the same resampled users."""
    metric = f"ndcg_at_{k}"
    ordered = sorted(found, key=lambda m: (-m.entry.metrics[metric], m.entry.name))
    columns = [(i, name) for i, one in enumerate(ordered) for name in one.values]
    values = np.stack([ordered[i].values[name] for i, name in columns], axis=1)
    means = resampled_means(values, rng=derive(seed, "bootstrap"), resamples=resamples_for(len(ordered)))
    intervals: list[dict[str, Interval]] = [{} for _ in ordered]
    for column, (i, name) in enumerate(columns):
        intervals[i][name] = interval(values[:, column], means[:, column])
    main = [column for column, (_, name) in enumerate(columns) if name == metric]
    entries = [
        msgspec.structs.replace(one.entry, intervals=own) for one, own in zip(ordered, intervals, strict=True)
    ]
    return Leaderboard(
        protocol=split.protocol,
        description=split.description,
        fingerprint=split.fingerprint,
        audit=list(split.audit),
        snapshot=split.train.digest,
        requests=len(split),
        items=split.train.n_items,
        metric=metric,
        k=k,
        seed=seed,
        level=LEVEL,
        resamples=RESAMPLES,
        entries=entries,
        left_out=left_out,
        differences=differences(metric, [e.name for e in entries], values[:, main], means[:, main]),
    )


def _aligned(table: list[list[str]], width: int) -> list[str]:
    """Return the lines of a table, an empty one first: names to the left, numbers to the right.

    A table that is wider than ``width`` goes on below, with the names again.
    """
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    pieces: list[list[int]] = [[]]
    for column in range(1, len(widths)):
        if pieces[-1] and widths[0] + sum(widths[i] + 2 for i in (*pieces[-1], column)) > width:
            pieces.append([])
        pieces[-1].append(column)
    lines: list[str] = []
    for piece in pieces:
        lines.append("")
        for row in table:
            cells = [row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in piece)]
            lines.append("  ".join(cells).rstrip())
    return lines
