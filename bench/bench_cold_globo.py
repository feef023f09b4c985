"""First sessions of new readers on Globo's news, hour by hour, with only what was known at that moment.

A new reader is one whose first click falls into the hour: nothing but environment, device, system, country,
region and referrer is known of them. Every feed is made from the clicks before the hour (of the last two
days; global popularity of all). The truth is what the reader clicks in the first session; NDCG@20 over all
articles, and over the tail: a ranking without the tenth of the articles of the last day that most users took,
that tenth taken out of the truth. Windows, half-life, penalty and weights are chosen on 8 to 10 October,
measured on 11 to 15 October. Intervals: bootstrap over hours, as readers of one hour read the same news.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from bench.globo import FEATURES, clicks, first_seen
from bench.paired import versions
from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.features.user_features import UserColumn, encode_users
from penchant.kernel.arrays import F32, F64, AnyArray, Bools, Csr, Rows, readonly
from penchant.kernel.clock import DAY, HOUR
from penchant.models.gains import gains
from penchant.models.lookalike_prior import Attributes, Placement, by_ridge
from penchant.models.lookalike_replay import without

K = 20
WINDOW = 2 * DAY
# "faded", popularity at the half-life of ours, is beside the three of the bar: what attributes alone add.
CHOOSE = ("2017-10-08", "2017-10-11")
MEASURE = ("2017-10-11", "2017-10-16")
READERS = 150  # an hour, at most
HOURS = (1, 2, 4, 12, 24)
HALF_LIVES = (1.0, 2.0, 4.0)
PENALTIES = (30.0, 300.0)
WEIGHTS = (0.25, 0.5, 0.75, 1.0)
PULLS = (30.0, 100.0, 300.0)
SEGMENT = ("device", "region")
Scores = Mapping[str, tuple[F64, F64]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hour:
    """What is known when an hour begins, and the new readers of that hour.

    Users of the window stand before the ``new`` readers; items are those of the window.
    """

    user: AnyArray  # (c,) of each click in the window
    item: AnyArray
    age: F64  # (c,) seconds before the hour
    shape: tuple[int, int]  # users of the window, items
    ever: F64  # (items,) different users of each item since the beginning
    attributes: Attributes  # of the window's users and the new readers
    segment: AnyArray  # of the same
    truth: Csr  # (new, items)

    def taken(self, *, hours: float | None = None, half_life: float | None = None) -> csr_array:
        """Return the users x items matrix: 1 where taken within ``hours``, or faded, at most 1."""
        keep = np.ones(len(self.age), np.bool_) if hours is None else self.age < hours * HOUR
        data = (
            np.ones(int(keep.sum())) if half_life is None else np.exp2(-self.age[keep] / (half_life * HOUR))
        )
        found = csr_array((data, (self.user[keep], self.item[keep])), shape=self.shape)
        found.sum_duplicates()
        found.data = np.minimum(found.data, 1.0)
        return found


def main(*, quick: bool) -> dict[str, object]:
    """Choose on the earlier days, measure on the later."""
    world = build_snapshot(clicks(), users=first_seen())
    step = 12 if quick else 1
    options = every_option()
    chosen: dict[str, str] = {}
    dev = measure(world, CHOOSE, 4 * step, options)
    for family in dict.fromkeys(name.split(" ")[0] for name in options):
        names = [name for name in options if name.split(" ")[0] == family]
        chosen[family] = max(
            names, key=lambda name: float(np.nanmean(np.concatenate([h[name][0] for h in dev])))
        )
        print(f"  chosen: {chosen[family]}", flush=True)
    hours = measure(world, MEASURE, step, {name: options[name] for name in chosen.values()})
    table: dict[str, Any] = {}
    for family, name in chosen.items():
        all_, tail = (np.concatenate([hour[name][i] for hour in hours]) for i in (0, 1))
        table[family] = {"ndcg_at_20": float(np.nanmean(all_)), "tail_ndcg_at_20": float(np.nanmean(tail))}
        print(f"  {name}: NDCG@20 {np.nanmean(all_):.4f}, tail {np.nanmean(tail):.4f}", flush=True)
    differences = {
        f"ours - {other}, {part}": over_hours(hours, chosen["ours"], chosen[other], i)
        for other in chosen
        if other != "ours"
        for i, part in enumerate(("all", "tail"))
    }
    for name, value in differences.items():
        print(f"  {name}: {value['mean']:+.4f} [{value['low']:+.4f}, {value['high']:+.4f}]")
    return {
        "bar": "never below global, recent or segment popularity (interval)",
        "met": all(value["low"] >= 0 for name, value in differences.items() if "faded" not in name),
        "data": "Globo news, G1 (Moreira et al. 2018)",
        "protocol": (__doc__ or "").replace("\n", " "),
        "readers": int(sum(len(hour[chosen["ours"]][0]) for hour in hours)),
        "hours": len(hours),
        "chosen": chosen,
        "means": table,
        "differences": differences,
        "versions": versions("scipy"),
    }


def every_option() -> dict[str, Callable[[Hour], F32]]:
    """Return all feeds by name: family first, then its settings. Each gives scores (1 or new, items)."""
    options: dict[str, Callable[[Hour], F32]] = {"global": lambda hour: hour.ever[None].astype(np.float32)}
    for h in HOURS:
        options[f"recent {h}h"] = lambda hour, h=h: popularity(hour.taken(hours=h))
        for pull in PULLS:
            options[f"segment {h}h pull {pull:g}"] = lambda hour, h=h, pull=pull: by_segment(
                hour, hour.taken(hours=h), pull
            )
    for half_life in HALF_LIVES:
        options[f"faded {half_life:g}h"] = lambda hour, x=half_life: popularity(hour.taken(half_life=x))
        for penalty in PENALTIES:
            for weight in WEIGHTS:
                options[f"ours {half_life:g}h penalty {penalty:g} weight {weight:g}"] = (
                    lambda hour, x=half_life, p=penalty, w=weight: placed(hour, x, p, w)
                )
    return options


def popularity(taken: csr_array) -> F32:
    """Return the sum over users, (1, items)."""
    return np.asarray(taken.sum(axis=0), np.float32).reshape(1, -1)


def by_segment(hour: Hour, taken: csr_array, pull: float) -> F32:
    """Return each new reader's segment's shares, drawn to everybody's as if ``pull`` more users had them."""
    n = hour.shape[0]
    usual = popularity(taken)[0] / max(n, 1)
    theirs, segments = hour.segment[n:], hour.segment[:n]
    out = np.empty((len(theirs), hour.shape[1]), np.float32)
    for label in np.unique(theirs):
        rows = np.flatnonzero(segments == label)
        out[theirs == label] = (popularity(taken[rows])[0] + pull * usual) / (len(rows) + pull)
    return out


def placed(hour: Hour, half_life: float, penalty: float, weight: float) -> F32:
    """Return the prior of the recipe `lookalike`: attributes -> preference by ridge."""
    found = placement(hour, half_life, penalty)
    return found.coordinates(weight)[hour.shape[0] :] @ found.rows()


@lru_cache(maxsize=8)
def placement(hour: Hour, half_life: float, penalty: float) -> Placement:
    """Learn from the users of the window; the new readers are placed beside them."""
    taken = hour.taken(half_life=half_life)
    taken.resize((len(hour.attributes.known), hour.shape[1]))
    return by_ridge(taken, hour.attributes, np.arange(hour.shape[0], dtype=np.int32), penalty)


def measure(
    world: Snapshot, days: tuple[str, str], step: int, options: Mapping[str, Callable[[Hour], F32]]
) -> list[Scores]:
    """Return, for every ``step``-th hour, each feed's NDCG (new,) over all and over the tail."""
    out: list[Scores] = []
    for hour in hours_of(world, days, step):
        recent = popularity(hour.taken(hours=24))[0]
        head = np.zeros(hour.shape[1], np.bool_)
        head[np.argsort(-recent, kind="stable")[: int((recent > 0).sum()) // 10]] = True
        beyond = np.zeros(hour.truth.n_columns - len(head), np.bool_)
        rare = without(hour.truth, np.concatenate([head, beyond]))
        out.append({name: both(make(hour), hour.truth, rare, head) for name, make in options.items()})
    return out


def both(scores: F32, truth: Csr, rare: Csr, head: Bools) -> tuple[F64, F64]:
    """Return NDCG over all and over the tail; NaN for who has nothing to find there."""
    return gains(best(scores, truth.n_rows), truth), gains(
        best(np.where(head, -np.inf, scores), truth.n_rows), rare
    )


def best(scores: AnyArray, n: int) -> Rows:
    """Return the best K of each row, ties by row of the item; one row stands for all n."""
    part = np.argsort(-scores, axis=1, kind="stable")[:, :K].astype(np.int32)
    return np.broadcast_to(part, (n, part.shape[1])) if len(part) == 1 else part


def hours_of(world: Snapshot, days: tuple[str, str], step: int) -> Iterator[Hour]:
    """Yield the hours of ``days`` that have new readers, as they stood when they began."""
    events = world.interactions
    begin, end = (float(np.datetime64(day, "s").astype(np.int64)) for day in days)
    columns = [UserColumn(column=name, how="levels", rare=0.002) for name in FEATURES]
    features = encode_users(world.user_table, columns)
    labels = np.stack([np.array(world.user_table[n].to_pylist()) for n in SEGMENT])
    segment = np.unique(np.char.add(labels[0], np.char.add("/", labels[1])), return_inverse=True)[1]
    first = events.timestamp[world.by_user[1][world.by_user[0][:-1]]]
    session = sessions_of(world)
    key = events.user.astype(np.int64) * world.n_items + events.item
    fresh = np.sort(np.unique(key, return_index=True)[1])  # where a user takes an article for the first time
    rng = np.random.default_rng(0)
    for at in np.arange(begin, end, step * HOUR):
        new = np.flatnonzero((first >= at) & (first < at + HOUR))
        if len(new) < 10:
            continue
        new = np.sort(rng.choice(new, min(len(new), READERS), replace=False))
        low, high = np.searchsorted(events.timestamp, [at - WINDOW, at], side="left")
        users, user = np.unique(events.user[low:high], return_inverse=True)
        items, item = np.unique(events.item[low:high], return_inverse=True)
        both_ = np.concatenate([users, new])
        ever = np.bincount(events.item[fresh[: np.searchsorted(fresh, high)]], minlength=world.n_items)
        yield Hour(
            user=user,
            item=item,
            age=at - events.timestamp[low:high],
            shape=(len(users), len(items)),
            ever=ever[items].astype(np.float64),
            attributes=Attributes(values=features.values[both_], known=features.known[both_]),
            segment=segment[both_],
            truth=first_session(world, session, new, items),
        )


def sessions_of(world: Snapshot) -> AnyArray:
    """Return the positions of each user's clicks within 30 minutes of one another, from the first on.

    (n_users,) how many clicks the first session has: it ends at the first pause of over 30 minutes.
    """
    indptr, positions = world.by_user
    time, user = world.interactions.timestamp[positions], world.interactions.user[positions]
    pause = np.append(False, (np.diff(time) > 30 * 60) & (user[1:] == user[:-1]))
    ends = np.diff(indptr)
    where = np.flatnonzero(pause)
    owner, at = np.unique(user[where], return_index=True)
    ends[owner] = where[at] - indptr[owner]
    return ends


def first_session(world: Snapshot, size: AnyArray, new: AnyArray, items: AnyArray) -> Csr:
    """Return what each new reader clicks in the first session, articles nobody knew yet left in as misses.

    Those get columns beyond the known items: no feed can give them, all feeds lose the same by them.
    """
    indptr, positions = world.by_user
    place = np.full(world.n_items, -1, np.int64)
    place[items] = np.arange(len(items))
    owner: list[AnyArray] = []
    column: list[AnyArray] = []
    for row, user in enumerate(new.tolist()):
        taken = np.unique(world.interactions.item[positions[indptr[user] : indptr[user] + size[user]]])
        known = place[taken]
        known[known < 0] = len(items) + np.arange(int((known < 0).sum()))
        owner.append(np.full(len(known), row, np.int32))
        column.append(known)
    rows, columns = np.concatenate(owner), np.concatenate(column)
    return Csr.group(
        readonly(rows),
        readonly(columns.astype(np.int32)),
        np.ones(len(rows), np.float32),
        n_rows=len(new),
        n_columns=len(items) + int(size.max()),
    )


def over_hours(hours: list[Scores], ours: str, other: str, part: int) -> dict[str, float]:
    """Return the mean difference over readers and its 95% interval, hours drawn anew."""
    difference = [hour[ours][part] - hour[other][part] for hour in hours]
    total = np.array([np.nansum(d) for d in difference])
    count = np.array([np.isfinite(d).sum() for d in difference])
    draws = np.random.default_rng(0).integers(0, len(total), (2000, len(total)))
    low, high = np.quantile(total[draws].sum(axis=1) / count[draws].sum(axis=1), [0.025, 0.975])
    return {"mean": float(total.sum() / count.sum()), "low": float(low), "high": float(high)}
