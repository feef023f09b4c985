"""A whole audience on a population whose answer is planted, and every way in which a list can be wrong."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from penchant.audiences.config import Audience, AudienceCard, AudienceConfig, best_rows
from penchant.audiences.ensemble import Ensemble
from penchant.audiences.expand import expand
from penchant.audiences.seeds import IdList, read_ids
from penchant.audiences.write import split_holdout, write_audience
from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.features.purchase import PurchaseFeatures
from penchant.kernel.clock import DAY
from penchant.kernel.errors import InputError
from penchant.kernel.seeds import derive

N = 1200
END = 1_700_000_000.0
GARDENERS = 240
"""The first 240 of the shuffled users garden; nobody is told."""


def gardener_rows() -> np.ndarray:
    return derive(0, "gardeners").permutation(N)[:GARDENERS]


@pytest.fixture(scope="module")
def shop() -> Snapshot:
    """1,200 customers of eight departments; gardeners buy seeds and pots more often than others do."""
    rng = derive(0, "shop")
    departments = ["bread", "milk", "tea", "soap", "toys", "books", "seeds", "pots"]
    liking = rng.gamma(0.6, 1.0, (N, 8)) + 0.05
    liking[:, 6:] *= 0.25
    liking[gardener_rows(), 6:] += 1.2
    users: list[int] = []
    items: list[int] = []
    for user in range(N):
        n = rng.integers(5, 60)
        kinds = rng.choice(8, n, p=liking[user] / liking[user].sum())
        users += [user] * n
        items += (kinds * 10 + rng.integers(0, 10, n)).tolist()
    count = len(users)
    order = rng.permutation(count)
    table = pa.table(
        {
            "user_id": [f"u{users[i]:04d}" for i in order],
            "item_id": [f"i{items[i]:02d}" for i in order],
            "event_type": ["purchase"] * count,
            "timestamp": END - DAY * rng.uniform(0, 300, count).round(2),
            "event_value": rng.gamma(2.0, 3.0, count).round(2),
        }
    )
    catalogue = pa.table(
        {
            "item_id": [f"i{i:02d}" for i in range(80)],
            "category": [departments[i // 10] for i in range(80)],
        }
    )
    people = pa.table(
        {
            "user_id": [f"u{i:04d}" for i in range(N)],
            "sex": ["f" if i % 3 else "m" for i in range(N)],
            "card": [f"C{i:05d}" for i in range(N)],
        }
    )
    return build_snapshot(table, items=catalogue, users=people)


QUICK = Ensemble(tree_bags=1, short_folds=2, linear_repeats=1, taste_repeats=1, affinity_repeats=1)
Grow = Callable[..., Audience]


def ids(rows: np.ndarray) -> tuple[str, ...]:
    return tuple(f"u{row:04d}" for row in rows)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest.fixture
def grow(shop: Snapshot, cache: Path) -> Grow:
    """Return how to grow a list: features are computed once for the whole module."""

    def grown(given: tuple[str, ...], **settings: object) -> Audience:
        config = AudienceConfig(**{"size": 100, "ensemble": QUICK, "stability": False, **settings})  # pyright: ignore[reportArgumentType]
        return expand(shop, IdList(ids=given), config, rng=derive(7, "audience"), cache=cache)

    return grown


@pytest.mark.parametrize("method", ["auto", "coupang", "embedding", "trees", "linear", "taste"])
def test_every_method_finds_the_hidden_gardeners(grow: Grow, method: str) -> None:
    rows = gardener_rows()
    found = grow(ids(rows[:120]), method=method)
    hidden = set(ids(rows[120:]))
    chance = len(hidden) / (N - 120)
    assert len(found) == len(set(found.ids)) == 100
    assert not set(found.ids) & set(ids(rows[:120]))
    assert np.mean([i in hidden for i in found.ids]) > 4 * chance
    floor = {"embedding": 0.65, "coupang": 0.7}.get(method, 0.75)  # the simpler ones see less
    assert found.card.quality.auc.low > floor
    assert (np.diff(found.scores) <= 0).all()


def test_the_reasons_are_the_planted_ones(grow: Grow) -> None:
    found = grow(ids(gardener_rows()[:120]))
    best = found.card.top[0]
    assert {top.category for top in found.card.top[:2]} <= {"seeds", "pots"}
    assert best.steady
    assert best.direction == "more"
    assert best.low > 0
    assert best.seed_mean is not None
    assert best.population_mean is not None
    assert sum(best.seed_share) == pytest.approx(1)
    assert found.card.quality.reach[2].lift.low > 1.5


def test_hiding_a_category_takes_it_out_of_features_and_taste(grow: Grow) -> None:
    found = grow(ids(gardener_rows()[:120]), hide=("seeds", "pots"))
    assert not {"seeds", "pots"} & {top.category for top in found.card.top}
    assert found.card.quality.auc.value < grow(ids(gardener_rows()[:120])).card.quality.auc.value


def test_reruns_are_byte_identical(shop: Snapshot, cache: Path, tmp_path: Path) -> None:
    given = ids(gardener_rows()[:120])
    config = AudienceConfig(size=150, ensemble=QUICK, protected=("sex",))
    for name in ("a", "b"):
        cache = None if name == "a" else tmp_path / "cache"  # from disk or from memory, the same
        found = expand(shop, IdList(ids=given), config, rng=derive(7, "audience"), cache=cache)
        names = write_audience(found, tmp_path / name)
    again = expand(shop, IdList(ids=given), config, rng=derive(7, "audience"), cache=tmp_path / "cache")
    write_audience(again, tmp_path / "c")
    for file in names:
        first = (tmp_path / "a" / file).read_bytes()
        assert first == (tmp_path / "b" / file).read_bytes() == (tmp_path / "c" / file).read_bytes()
    assert (tmp_path / "a" / "audience.csv").read_text().splitlines()[0] == "user_id,score,rank"
    card = msgspec.json.decode((tmp_path / "a" / "card.json").read_bytes(), type=AudienceCard)
    assert card.size == 150
    assert card.quality.overlap is not None
    assert card.quality.overlap > 2 * card.quality.overlap_by_chance
    assert {b.value for b in card.bias} == {"f", "m"}
    assert sum(b.audience for b in card.bias) == pytest.approx(1)


def test_value_weights_move_the_audience(shop: Snapshot, cache: Path) -> None:
    rows = gardener_rows()[:120]
    config = AudienceConfig(size=100, ensemble=QUICK, stability=False)
    even = expand(shop, IdList(ids=ids(rows), values=np.ones(120)), config, rng=derive(7, "a"), cache=cache)
    plain = expand(shop, IdList(ids=ids(rows)), config, rng=derive(7, "a"), cache=cache)
    tilted = np.where(np.arange(120) < 60, 50.0, 1.0)
    moved = expand(shop, IdList(ids=ids(rows), values=tilted), config, rng=derive(7, "a"), cache=cache)
    assert even.ids == plain.ids
    assert moved.ids != plain.ids


def test_exclusions_and_seeds_that_may_be_chosen(grow: Grow, shop: Snapshot, cache: Path) -> None:
    rows = gardener_rows()
    suppressed = IdList(ids=(*ids(rows[120:200]), "nobody"))
    config = AudienceConfig(size=100, ensemble=QUICK, stability=False)
    found = expand(
        shop,
        IdList(ids=ids(rows[:120])),
        config,
        rng=derive(7, "a"),
        cache=cache,
        exclude={"suppressed": suppressed},
    )
    assert not set(found.ids) & set(suppressed.ids)
    assert found.card.excluded == {"seeds": 120, "suppressed": 80}
    chosen = grow(ids(rows[:120]), include_seeds=True)
    assert set(chosen.ids) & set(ids(rows[:120]))


def test_a_random_list_is_refused(grow: Grow) -> None:
    refused = 0
    for draw in range(5):
        rows = derive(draw, "random").choice(N, 80, replace=False)
        try:
            grow(ids(rows), method="trees")
        except InputError as error:
            refused += "carries no signal" in str(error)
    assert refused >= 4


def test_a_leak_is_named_with_what_to_do(shop: Snapshot, cache: Path) -> None:
    config = AudienceConfig(
        size=50,
        ensemble=QUICK,
        stability=False,
        features=PurchaseFeatures(profile=("sex",)),
    )
    men = [f"u{i:04d}" for i in range(N) if i % 3 == 0]
    found = expand(shop, IdList(ids=tuple(men)), config, rng=derive(7, "a"), cache=cache)
    assert found.card.findings[0].level == "problem"
    assert "alone reproduces" in found.card.findings[0].what
    assert "--hide sex=" in found.card.findings[0].todo


def test_what_is_odd_is_said(grow: Grow) -> None:
    rows = gardener_rows()
    given = (*ids(rows[:40]), *ids(rows[:3]), "ghost-1", "ghost-2", "ghost-3", "ghost-4")
    found = grow(given)
    said = " ".join(f"{f.level}: {f.what} {f.todo}" for f in found.card.findings)
    assert "warning: 4 ids" in said
    assert "3 ids were given more than once" in said
    assert "40 seeds are few" in said
    assert found.unknown == ("ghost-1", "ghost-2", "ghost-3", "ghost-4")


def test_the_limit_trap_is_seen(grow: Grow) -> None:
    first = tuple(f"u{i:04d}" for i in range(240))
    try:
        said = " ".join(f.what for f in grow(first, method="coupang", threshold=0.0).card.findings)
    except InputError as error:  # pragma: no cover
        pytest.fail(str(error))
    assert "sorted or truncated slice" in said
    fine = grow(ids(gardener_rows()[:120]))
    assert not any("slice" in f.what for f in fine.card.findings)


def test_most_of_the_population_is_a_problem(grow: Grow) -> None:
    rows = derive(1, "most").choice(N, 700, replace=False)
    found = grow(ids(rows), method="coupang", threshold=0.0)
    assert any(f.level == "problem" and "everybody" in f.what for f in found.card.findings)


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        (("a", "b"), {}, "none of the 2 ids is a known user"),
        (tuple(f"i{i:02d}" for i in range(40)), {}, "some are item ids"),
        (tuple(f"C{i:05d}" for i in range(40)), {}, "values of the users' column 'card'"),
        (
            tuple(f"u{i:04d}" for i in range(24)),
            {},
            "24 of the 24 ids are known users; an audience needs at least 25",
        ),
        (tuple(f"u{i:04d}" for i in range(60)), {"size": 1141}, "only 1,140 are left"),
        (tuple(f"u{i:04d}" for i in range(60)), {"size": 0}, "--size"),
        (tuple(f"u{i:04d}" for i in range(60)), {"hide": ("sedes",)}, "Did you mean 'seeds'"),
    ],
)
def test_wrong_lists_are_refused_in_plain_words(
    grow: Grow, given: tuple[str, ...], settings: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        grow(given, **settings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("u1\nu2\n\n", ("u1", "u2")),
        ("member_srl\n10\n11\n", ("10", "11")),
        ("\ufeffuser_id,name\r\na,x\r\nb,y\r\n", ("a", "b")),
        ("name,user_id\nx,a\n", ("a",)),
        ("user_id;value\na;1\nb;2\n", ("a", "b")),
        ('"name"\t"user_id"\nx\ta\n', ("a",)),
        ("a;1\nb;2\n", ("a;1", "b;2")),
    ],
)
def test_lists_are_read(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    (tmp_path / "seeds.csv").write_text(text, newline="")
    assert read_ids(tmp_path / "seeds.csv").ids == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the list is empty"),
        ("user_id\n", "the list is empty"),
        ("name,city\na,b\n", "no column is called user_id"),
        ("user_id,name\na,x\n,y\n", "row 3: a row without an id"),
        ("user_id,value\na,1\nb,-2\n", "row 3: a seed's value must be a number above 0"),
    ],
)
def test_unreadable_lists_name_the_row(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "seeds.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_ids(tmp_path / "seeds.csv")


def test_no_file_and_not_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_ids(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00x")
    with pytest.raises(InputError, match="not a CSV file in UTF-8"):
        read_ids(tmp_path / "bad.csv")


def test_ties_go_by_id_and_the_size_is_exact() -> None:
    score = np.array([1.0, 3.0, 2.0, 3.0, 2.0, 2.0])
    eligible = np.array([True, True, True, True, True, False])
    assert best_rows(score, eligible, 3).tolist() == [1, 3, 2]
    assert best_rows(score, eligible, 5).tolist() == [1, 3, 2, 4, 0]
    rng = np.random.default_rng(0)
    for _ in range(20):
        score = rng.integers(0, 5, 50).astype(float)
        slow = sorted(range(50), key=lambda i: (-score[i], i))[:17]
        assert best_rows(score, np.ones(50, bool), 17).tolist() == slow


def test_drift_against_an_earlier_run(shop: Snapshot, cache: Path, tmp_path: Path) -> None:
    given = IdList(ids=ids(gardener_rows()[:120]))
    config = AudienceConfig(size=100, ensemble=QUICK, stability=False)
    write_audience(expand(shop, given, config, rng=derive(7, "a"), cache=cache), tmp_path / "first")
    again = expand(shop, given, config, rng=derive(7, "a"), cache=cache, previous=tmp_path / "first")
    assert again.card.drift is not None
    assert again.card.drift.stayed == 1
    assert max(again.card.drift.psi.values()) < 0.01
    early = shop.before(END - 200 * DAY)
    moved = expand(early, given, config, rng=derive(7, "a"), cache=cache, previous=tmp_path / "first")
    assert moved.card.drift is not None
    assert max(moved.card.drift.psi.values()) > 0.25


def test_what_is_wrong_is_said_before_any_work(
    shop: Snapshot, grow: Grow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worked(*given: object) -> None:
        raise AssertionError("it began to work")

    monkeypatch.setattr("penchant.audiences.expand._job", worked)
    given = ids(gardener_rows()[:120])
    with pytest.raises(InputError, match="users have no column 'sx'") as caught:
        grow(given, protected=("sx",))
    assert "sex" in str(caught.value)
    config = AudienceConfig(size=100)
    for text in ("", '{"config": {"size": 1, "ensemble": {"of another version": 1}}}'):
        (tmp_path / "card.json").write_text(text)
        with pytest.raises(InputError, match="no readable card"):
            expand(shop, IdList(ids=given), config, rng=derive(7, "a"), previous=tmp_path)


def test_a_list_of_the_best_customers_is_called_one(shop: Snapshot, grow: Grow) -> None:
    spend = np.bincount(shop.interactions.user, weights=shop.interactions.value, minlength=N)
    best = np.argsort(-spend)[:200:2]
    notes = [f.what for f in grow(ids(np.sort(best)), method="trees").card.findings]
    assert any(note.startswith("Spend alone ranks the seeds") for note in notes)
    notes = [f.what for f in grow(ids(gardener_rows()[:120]), method="trees").card.findings]
    assert not any(note.startswith("Spend alone ranks the seeds") for note in notes)


def test_the_holdout_is_random_exact_and_kept_apart() -> None:
    people = [f"u{i}" for i in range(1000)]
    reach, held = split_holdout(people, 0.1, rng=derive(1, "h"))
    assert len(held) == 100
    assert sorted(reach + held) == sorted(people)
    assert abs(np.mean([int(i[1:]) for i in held]) - 499.5) < 100
    assert split_holdout(people, 0.0, rng=derive(1, "h")) == (people, [])
    with pytest.raises(ValueError, match="below 1"):
        split_holdout(people, 1.0, rng=derive(1, "h"))
