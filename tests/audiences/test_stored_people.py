"""An audience from a store beyond memory: the same people, reasons and measures as from a snapshot."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penchant.audiences import assess, methods
from penchant.audiences.config import Audience, AudienceConfig
from penchant.audiences.ensemble import Ensemble
from penchant.audiences.expand import expand, expand_people
from penchant.audiences.people import StoredPeople
from penchant.audiences.seeds import IdList
from penchant.audiences.write import write_audience
from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.features.people_store import people_store
from penchant.features.purchase import PurchaseFeatures
from penchant.features.raw_tables import RawTables
from penchant.kernel.clock import DAY
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive

N, CLIMBERS, END = 900, 200, 1_700_000_000.0
FEATURES = PurchaseFeatures(profile=("sex",))
QUICK = Ensemble(tree_bags=1, short_folds=2, linear_repeats=1, taste_repeats=1, affinity_repeats=1)


def ids(rows: np.ndarray) -> tuple[str, ...]:
    return tuple(f"{row:04d}" for row in rows)


@pytest.fixture(scope="module")
def climbers() -> np.ndarray:
    return derive(0, "climbers").permutation(N)[:CLIMBERS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, climbers: np.ndarray) -> Path:
    """Tables of 900 customers of ten departments, of whom 200 climb."""
    rng, place = derive(0, "mountain"), tmp_path_factory.mktemp("tables")
    liking = rng.gamma(0.3, 1.0, (N, 10))
    liking[climbers, 5:7] += 1.2
    counts = rng.integers(5, 50, N)
    user = np.repeat(np.arange(N), counts)
    chosen = np.array([rng.choice(10, p=liking[u] / liking[u].sum()) for u in user])
    pq.write_table(
        pa.table(
            {
                "user_id": ids(user),
                "item_id": [f"i{c}{n}" for c, n in zip(chosen, rng.integers(0, 9, len(user)), strict=True)],
                "event_type": ["purchase"] * len(user),
                "timestamp": END - DAY * rng.uniform(0, 300, len(user)).round(2),
                "event_value": rng.gamma(2.0, 3.0, len(user)).round(2),
            }
        ),
        place / "interactions.parquet",
    )
    items = [f"i{c}{n}" for c in range(10) for n in range(9)]
    pq.write_table(
        pa.table({"item_id": items, "category": [f"d{i[1]}" for i in items]}), place / "items.parquet"
    )
    sex = ["f" if u % 3 else "m" for u in range(N)]
    pq.write_table(pa.table({"user_id": ids(np.arange(N)), "sex": sex}), place / "users.parquet")
    return place


@pytest.fixture(scope="module")
def stored(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> StoredPeople:
    place = tmp_path_factory.mktemp("store")
    raw = RawTables.found(folder)
    return StoredPeople(store=people_store(raw, FEATURES, place, source="x", progress=Silent()))


@pytest.fixture(scope="module")
def snapshot(folder: Path) -> Snapshot:
    tables = {name: pq.read_table(folder / f"{name}.parquet") for name in ("interactions", "items", "users")}
    return build_snapshot(tables["interactions"], items=tables["items"], users=tables["users"])


def config(**settings: object) -> AudienceConfig:
    plain = {"size": 80, "ensemble": QUICK, "features": FEATURES, "stability": False}
    return AudienceConfig(**{**plain, **settings})  # pyright: ignore[reportArgumentType]


def from_store(stored: StoredPeople, given: tuple[str, ...], **settings: object) -> Audience:
    return expand_people(stored, IdList(ids=given), config(**settings), rng=derive(3, "audience"))


@pytest.mark.parametrize("method", ["trees", "linear"])
def test_both_ways_write_the_same_files(
    snapshot: Snapshot, stored: StoredPeople, climbers: np.ndarray, tmp_path: Path, method: str
) -> None:
    given = IdList(ids=(*ids(climbers[:90]), "nobody"))
    asked = config(method=method, stability=method == "linear", protected=("sex",))
    here = expand(snapshot, given, asked, rng=derive(3, "audience"))
    there = expand_people(stored, given, asked, rng=derive(3, "audience"))
    names = write_audience(here, tmp_path / "here")
    assert write_audience(there, tmp_path / "there") == names
    for name in set(names) - {"card.json"}:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
    one, other = here.card.quality, there.card.quality  # modes are counted in two kinds of taste
    assert (one.auc, one.auc_within_spend, one.overlap) == (other.auc, other.auc_within_spend, other.overlap)
    assert here.card.bias == there.card.bias
    assert here.card.cutoff == there.card.cutoff
    assert [f.what for f in here.card.findings] == [f.what for f in there.card.findings]


@pytest.mark.parametrize("method", ["auto", "taste", "embedding"])
def test_taste_of_categories_finds_the_hidden(
    stored: StoredPeople, climbers: np.ndarray, method: str
) -> None:
    found = from_store(stored, ids(climbers[:90]), method=method)
    hidden = np.isin(found.ids, ids(climbers[90:])).mean()
    assert hidden > 2.5 * (CLIMBERS - 90) / (N - 90)
    assert not set(found.ids) & set(ids(climbers[:90]))
    again = from_store(stored, ids(climbers[:90]), method=method)
    assert (again.ids, again.scores.tolist()) == (found.ids, found.scores.tolist())


def test_of_many_people_a_part_is_learned_from_and_looked_at(
    stored: StoredPeople, climbers: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = from_store(stored, ids(climbers[:90]), stability=True)
    monkeypatch.setattr(methods, "LEARN_FROM", 400)
    monkeypatch.setattr(assess, "SHOWN", 300)
    write_audience(whole, tmp_path)
    given = IdList(ids=ids(climbers[:90]))
    part = expand_people(stored, given, config(stability=True), rng=derive(3, "audience"), previous=tmp_path)
    assert len(part) == 80
    assert np.isin(part.ids, ids(climbers[90:])).mean() > 0.3
    assert part.card.quality.overlap is not None
    assert part.card.quality.overlap > 2 * part.card.quality.overlap_by_chance
    best = part.card.top[0]
    assert best.category in ("d5", "d6")
    assert best.population_mean == pytest.approx(whole.card.top[0].population_mean, rel=0.3)
    assert part.card.drift is not None
    assert max(part.card.drift.psi.values()) < 0.25


def test_what_a_store_cannot_answer_is_said(stored: StoredPeople, climbers: np.ndarray) -> None:
    with pytest.raises(InputError, match="compares everybody's values"):
        from_store(stored, ids(climbers[:90]), method="coupang")
    with pytest.raises(InputError, match="not by finer groups"):
        from_store(stored, ids(climbers[:90]), fine="item_id")
    with pytest.raises(InputError, match="none of the 1 ids is a known user"):
        from_store(stored, ("i11",))
    with pytest.raises(InputError, match="no signal"):
        from_store(stored, ids(derive(5, "random").choice(N, 60, replace=False)))
