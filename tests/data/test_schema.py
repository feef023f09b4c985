"""Headers: Amazon Personalize's and ours are read as they are, others are refused with what would help."""

import pytest

from penchant.data.schema import TABLES, canonical_name, resolve_header
from penchant.kernel.errors import InputError

INTERACTIONS = TABLES["interactions"]


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("USER_ID", "user_id"),
        ("userId", "user_id"),
        (" User ID ", "user_id"),
        ("CREATION_TIMESTAMP", "creation_timestamp"),
        ("event-type", "event_type"),
        ("user_id", "user_id"),
        ("L1Category", "l1_category"),
        ("", ""),
    ],
)
def test_names_become_snake_case(header: str, name: str) -> None:
    assert canonical_name(header) == name


def test_personalize_headers_are_ours() -> None:
    header = [
        "USER_ID",
        "ITEM_ID",
        "TIMESTAMP",
        "EVENT_TYPE",
        "EVENT_VALUE",
        "IMPRESSION",
        "RECOMMENDATION_ID",
        "DEVICE",
    ]
    names = resolve_header(INTERACTIONS, header, "x.csv")
    assert names == [
        "user_id",
        "item_id",
        "timestamp",
        "event_type",
        "event_value",
        "impression",
        "recommendation_id",
        "device",
    ]
    assert [name for name in names if INTERACTIONS.column(name) is None] == ["device"]


def test_a_missing_column_is_named_with_its_neighbour() -> None:
    with pytest.raises(InputError) as caught:
        resolve_header(INTERACTIONS, ["user_id", "itemid", "timestamp"], "a/b.csv")
    message = str(caught.value)
    assert message.startswith("a/b.csv: there is no column item_id. Did you mean 'itemid'?")
    assert "The file has: user_id, itemid, timestamp." in message
    assert "needs user_id, item_id, timestamp; it may have event_type" in message


@pytest.mark.parametrize("title", ["movieId", "StockCode", "PRODUCT_ID", "item"])
def test_what_others_call_a_column_is_recognised_but_not_assumed(title: str) -> None:
    with pytest.raises(InputError, match=f"no column item_id. Did you mean '{title}'"):
        resolve_header(INTERACTIONS, ["user_id", "rating", title, "timestamp"], "x")


def test_columns_of_one_name_and_unknown_columns_of_follows_are_refused() -> None:
    with pytest.raises(InputError, match="two columns are called item_id"):
        resolve_header(INTERACTIONS, ["user_id", "item_id", "ITEM_ID", "timestamp"], "x")
    with pytest.raises(InputError, match=r"unknown column activ.*Did you mean 'active'"):
        resolve_header(TABLES["follows"], ["user_id", "followed_id", "activ"], "x")


def test_interactions_given_as_users_are_refused() -> None:
    with pytest.raises(InputError, match="looks like interactions"):
        resolve_header(TABLES["users"], ["USER_ID", "ITEM_ID", "TIMESTAMP"], "x.csv")
    assert resolve_header(TABLES["users"], ["user_id", "item_id"], "x.csv") == ["user_id", "item_id"]
