"""Named filters, their values and promotions over /v1/feeds."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient

from penchant.http.app import create_app
from penchant.testing.data import item_id
from penchant.workspace.service import Workspace

FILTERS = """
[filters]
odd = 'INCLUDE ItemID WHERE Items.COLOUR = "odd"'
of = "INCLUDE ItemID WHERE Items.COLOUR IN ($colours)"
"""
ODD = {item_id(i) for i in range(1, 24, 2)}


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    settings = folder / "penchant.toml"
    settings.write_text(FILTERS + settings.read_text())
    workspace = Workspace.open(folder)
    with TestClient(create_app(workspace)) as client:
        yield client
    workspace.close()


def test_filters_their_values_and_promotions(client: TestClient) -> None:
    def given(query: str) -> list[dict[str, str]]:
        answer = client.get(f"/v1/feeds/home/u001?k=10&{query}")
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]

    assert {one["item_id"] for one in given("filter=odd")} <= ODD
    assert {one["item_id"] for one in given("filter=of&filter_values=colours%3D%22odd%22,%22x%22")} <= ODD
    assert given("filter=odd&filter=of&filter_values=colours=even") == []
    mixed = given("filter=of&filter_values=colours=even&promotion=odd:20")
    promoted = [one for one in mixed if one["source"] == "promotion:odd"]
    assert {one["item_id"] for one in promoted} <= ODD
    assert len(promoted) == 2
    assert not {one["item_id"] for one in mixed if one not in promoted} & ODD
    three = given("filter=of&filter_values=colours=even&promotion=odd:3slots")
    assert sum(one["source"] == "promotion:odd" for one in three) == 3


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("filter=od", "there is no filter 'od'"),
        ("filter=of", "needs a value for $colours"),
        ("filter=odd&filter_values=colours", "each parameter once, as NAME=VALUE"),
        ("filter=of&filter_values=colours=a&filter_values=colours=b", "each parameter once"),
        ("filter=of&filter_values=colour=a", "needs a value for $colours"),
        ('filter=of&filter_values=colours="a', "open quote"),
        ("promotion=odd", "as FILTER:PERCENT"),
        ("promotion=odd:0", "as FILTER:PERCENT"),
        ("promotion=odd:101", "as FILTER:PERCENT"),
        ("promotion=odd:0slots", "as FILTER:2slots"),
        ("promotion=odd:2places", "as FILTER:2slots"),
        ("promotion=odd:9999999999999999999999", "as FILTER:PERCENT"),
        ("promotion=odd:%C2%B2", "as FILTER:PERCENT"),
        ("promotion=odd:60&promotion=odd:50", "110% of the places"),
    ],
)
def test_what_is_wrong_is_said(client: TestClient, query: str, says: str) -> None:
    answer = client.get(f"/v1/feeds/home/u001?{query}")
    assert answer.status_code == 400, answer.text
    assert says in answer.json()["error"]["message"] + answer.text
