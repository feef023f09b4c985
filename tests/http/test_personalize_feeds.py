"""The feeds of penchant.toml as campaigns of their names: they take whatever a client asks of them."""

import pytest
from litestar.testing import TestClient

from penchant.testing.data import item_id, user_id
from penchant.workspace.service import Workspace

CAMPAIGN = "arn:aws:personalize:eu-west-1:123456789012:campaign/"


@pytest.fixture
def client(shared: tuple[TestClient, Workspace]) -> TestClient:
    return shared[0]


@pytest.mark.parametrize("item", [2, 5])
def test_a_feed_of_related_items_is_about_the_item_named(client: TestClient, item: int) -> None:
    asked = {
        "campaignArn": f"{CAMPAIGN}related",
        "itemId": item_id(item),
        "userId": user_id(1),
        "numResults": 5,
    }
    answer = client.post("/recommendations", json=asked).json()
    mine = client.get(f"/v1/feeds/related/{user_id(1)}", params={"k": 5, "item": item_id(item)}).json()
    found = [one["itemId"] for one in answer["itemList"]]
    assert found == [one["item_id"] for one in mine["items"]]
    assert item_id(item) not in found
    assert all(int(one[-2:]) % 2 == item % 2 for one in found), "similar items have the item's colour"


def test_a_feed_ranks(client: TestClient) -> None:
    wanted = [item_id(i) for i in (3, 4, 5, 6)]
    asked = {"campaignArn": f"{CAMPAIGN}home", "userId": user_id(4), "inputList": wanted}
    answer = client.post("/personalize-ranking", json=asked)
    assert answer.status_code == 200, answer.text
    ranked = [one["itemId"] for one in answer.json()["personalizedRanking"]]
    assert sorted(ranked) == wanted
    assert {int(one[-2:]) % 2 for one in ranked[:2]} == {0}, "the user's own colour first"
