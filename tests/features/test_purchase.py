"""Purchase features: known answers by hand, a slow oracle beside the SQL, and never kept apart from zero."""

import math

import numpy as np
import pyarrow as pa
import pytest

from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.features.matrix import FeatureName, Features, hidden_columns
from penchant.features.purchase import BEHAVIOUR, SYMBOLS, PurchaseFeatures, feature_name
from penchant.features.purchase_matrix import compute, pieces, purchase_table
from penchant.kernel.clock import DAY
from penchant.kernel.errors import InputError

END = 1_700_000_000.0


def shop(events: list[tuple[str, str, str, float, float | None]], users: pa.Table | None = None) -> Snapshot:
    """Build from (user, item, event type, days before the end, value); item ``x-1`` is of category ``x``."""
    items = sorted({e[1] for e in events})
    table = pa.table(
        {
            "user_id": [e[0] for e in events],
            "item_id": [e[1] for e in events],
            "event_type": [e[2] for e in events],
            "timestamp": [END - DAY * e[3] for e in events],
            "event_value": pa.array([e[4] for e in events], pa.float64()),
        }
    )
    catalogue = pa.table(
        {
            "item_id": items,
            "category": pa.array([i.split("-")[0] if "-" in i else None for i in items], pa.string()),
            "department": ["all" for _ in items],
        }
    )
    return build_snapshot(table, items=catalogue, users=users, cutoff=END)


def one(features: Features, name: str, user: str = "ann") -> float:
    return float(features.column(name)[features.users.row(user)])


BASKETS = [
    ("ann", "milk-1", "purchase", 10.5, 2.0),
    ("ann", "milk-2", "purchase", 10.5, 3.0),
    ("ann", "bread-1", "purchase", 10.5, 5.0),
    ("ann", "milk-1", "purchase", 2.25, 4.0),
    ("ann", "milk-1", "view", 1.5, None),
    ("ann", "milk-1", "view", 3.0, None),
    ("ann", "milk-1", "view", 4.0, None),
    ("ann", "tea-1", "search", 7.0, None),
    ("bob", "bread-1", "purchase", 20.0, 0.0),
    ("bob", "odd", "purchase", 30.0, 1.0),
    ("cy", "milk-1", "purchase", 400.0, 9.0),
]


def test_known_answers() -> None:
    features = compute(purchase_table(shop(BASKETS), PurchaseFeatures(window_days=365)))
    milk, bread, tea = 2, 1, 3  # codes follow the order of the names
    expected = {
        "aas": 9.0,
        "cto": 2,
        "ctq": 3,
        "ctv": 3,
        "vpo": 1.5,
        "vpq": 1,
        "dpo": 182.5,
        "dpq": 365 / 3,
        "gpo": 4.5,
        "gpq": 3,
        "gpd": 9 / 365,
        "dsl": 2,
        "vsl": 1,
    }
    for symbol, value in expected.items():
        assert one(features, feature_name(symbol, milk)) == pytest.approx(value, rel=1e-6), symbol
    assert one(features, "cto000") == 2  # one order holds milk and bread
    assert one(features, "ctq000") == 4
    assert one(features, "aas000") == pytest.approx(14)
    assert one(features, feature_name("cts", tea)) == 1
    assert one(features, feature_name("ssl", tea)) == 7
    assert one(features, "spo000") == 0.5
    assert one(features, feature_name("cto", bread)) == 1
    assert set(SYMBOLS) == {f.symbol for f in features.book} - set(BEHAVIOUR)


def test_never_is_not_zero() -> None:
    features = compute(purchase_table(shop(BASKETS), PurchaseFeatures()))
    assert one(features, "aas001", "bob") == 0  # bread for nothing
    assert math.isnan(one(features, "aas002", "bob"))  # no milk at all
    assert math.isnan(one(features, "cto003", "ann"))  # searched tea, never bought it
    assert all(math.isnan(one(features, name, "cy")) for name in features.names)  # nothing in the window
    assert one(features, "cto000", "bob") == 2  # the item without category counts for the account


def test_behaviour_columns() -> None:
    features = compute(purchase_table(shop(BASKETS), PurchaseFeatures()))
    assert one(features, "tenure") == 10
    assert one(features, "active_days") == 6
    assert one(features, "breadth") == 2
    assert one(features, "largest") == 10
    assert one(features, "gap") == pytest.approx(8.25)
    assert one(features, "overdue") == pytest.approx(2.25 / 8.25)
    assert one(features, "lately") == 1
    assert one(features, "trend") == pytest.approx(1)
    assert math.isnan(one(features, "gap", "cy"))


def oracle(
    events: list[tuple[str, str, str, float, float | None]], user: str, category: str | None, days: float
):
    mine = [
        e
        for e in events
        if e[0] == user and e[3] < days and (category is None or e[1].startswith(category + "-"))
    ]
    bought = [e for e in mine if e[2] == "purchase"]
    viewed = [e for e in mine if e[2] == "view"]
    orders, spent = len({e[3] for e in bought}), sum(e[4] for e in bought if e[4] is not None)
    return {
        "cto": orders or math.nan,
        "ctq": len(bought) or math.nan,
        "ctv": len(viewed) or math.nan,
        "aas": spent * 365 / days if bought else math.nan,
        "gpo": spent / orders if orders else math.nan,
        "gpq": spent / len(bought) if bought else math.nan,
        "dpo": days / orders if orders else math.nan,
        "vpo": len(viewed) / orders if viewed and orders else math.nan,
        "dsl": math.floor(min(e[3] for e in bought)) if bought else math.nan,
        "vsl": math.floor(min(e[3] for e in viewed)) if viewed else math.nan,
    }


def random_events(seed: int, n: int = 600) -> list[tuple[str, str, str, float, float | None]]:
    rng = np.random.default_rng(seed)
    return [
        (
            f"u{rng.integers(30):02d}",
            f"{'abcde'[rng.integers(5)]}-{rng.integers(9)}",
            str(rng.choice(["purchase", "view"])),
            float(rng.integers(0, 100)) + 0.5,
            float(rng.integers(0, 900)) / 4,
        )
        for _ in range(n)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_slow_oracle(seed: int) -> None:
    events = random_events(seed)
    features = compute(purchase_table(shop(events), PurchaseFeatures(window_days=60)))
    for user in features.users.ids(range(len(features.users))):
        for code, category in enumerate([None, *"abcde"]):
            for symbol, value in oracle(events, user, category, 60).items():
                found = one(features, feature_name(symbol, code), user)
                assert found == pytest.approx(value, rel=1e-6, nan_ok=True), (user, symbol, category)


def test_pieces_are_the_whole_and_runs_are_equal() -> None:
    table = purchase_table(shop(random_events(5)), PurchaseFeatures(window_days=60))
    whole = compute(table)
    parts = np.concatenate([piece for _, piece in pieces(table, size=7)], axis=1)
    assert np.array_equal(whole.values, parts, equal_nan=True)
    assert np.array_equal(whole.values, compute(table).values, equal_nan=True)


def test_all_events_are_purchases_when_none_is_named_so() -> None:
    events = [("a", "x-1", "click", 1.0, None), ("a", "x-2", "click", 2.0, None)]
    features = compute(purchase_table(shop(events), PurchaseFeatures()))
    assert one(features, "cto001", "a") == 2
    assert one(features, "dsl001", "a") == 1


def test_another_level_of_the_hierarchy() -> None:
    features = compute(purchase_table(shop(BASKETS), PurchaseFeatures(category="department")))
    assert one(features, "cto001", "bob") == 2
    assert {f.category for f in features.book if f.code == 1} == {"all"}


def test_profile_columns() -> None:
    users = pa.table(
        {"user_id": ["ann", "bob"], "age": [30, None], "plan": ["free", "paid"], "tags": [["a"], ["b"]]}
    )
    snapshot = shop(BASKETS, users)
    features = compute(purchase_table(snapshot, PurchaseFeatures(profile=("age", "plan"))))
    assert one(features, "age") == 30
    assert math.isnan(one(features, "age", "bob"))
    assert (one(features, "plan=free"), one(features, "plan=paid")) == (1, 0)
    assert (one(features, "plan=free", "cy"), one(features, "plan=unknown", "cy")) == (0, 1)
    with pytest.raises(InputError, match="Did you mean 'age'"):
        purchase_table(snapshot, PurchaseFeatures(profile=("agee",)))
    with pytest.raises(InputError, match="neither number nor text"):
        purchase_table(snapshot, PurchaseFeatures(profile=("tags",)))


def test_a_wrong_category_column_is_named() -> None:
    with pytest.raises(InputError, match="Did you mean 'department'"):
        purchase_table(shop(BASKETS), PurchaseFeatures(category="departments"))


def test_hiding_what_defines_the_seeds() -> None:
    book = [
        FeatureName(name="cto000", symbol="cto", code=0, category="ALL"),
        FeatureName(name="cto001", symbol="cto", code=1, category="milk"),
        FeatureName(name="aas001", symbol="aas", code=1, category="milk"),
        FeatureName(name="tenure", symbol="tenure"),
    ]
    assert hidden_columns(book, ["milk"]) == [1, 2]
    assert hidden_columns(book, ["cto*", "tenure"]) == [0, 1, 3]
    with pytest.raises(InputError, match="Did you mean 'milk'"):
        hidden_columns(book, ["milks"])
