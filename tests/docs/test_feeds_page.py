"""The examples of docs/feeds.md work as they stand there."""

import re
from collections.abc import Generator
from pathlib import Path

import pytest

from penchant.data.events import Acted, AnyEvent, ItemPut
from penchant.testing.clock import FakeClock
from penchant.workspace.filters import PromotionNamed
from penchant.workspace.service import Workspace
from penchant.workspace.serving import Serving
from penchant.workspace.settings import FILE

PAGE = (Path(__file__).parents[2] / "docs" / "feeds.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
NOW = 1_700_000_000.0
RECIPES = """
[recipes.for_you]
recipe = "ials"
factors = 4
epochs = 2
[recipes.trending]
recipe = "trending"
[recipes.popular]
recipe = "popularity"
"""


def events() -> list[AnyEvent]:
    puts: list[AnyEvent] = [
        ItemPut(
            event_id=f"p{i}",
            timestamp=NOW - 100.0,
            item_id="welcome" if i == 0 else f"i{i:02d}",
            properties={
                "title": f"Title {i % 35}",
                "category": ["news", "sport", "art|news", "food", "games"][i % 5],
                "author": f"a{i % 9}",
                "adult": i % 10 == 9,
                "stock": float(i % 4),
                "price": float(i),
                "latitude": 48.0 + i,
                "longitude": 11.0,
            },
        )
        for i in range(40)
    ]
    clicks = [
        Acted(
            event_id=f"e{u}-{i}",
            timestamp=NOW - 3600.0 + i,
            user_id=f"u{u}",
            item_id="welcome" if i == 0 else f"i{i:02d}",
            event_type="view",
        )
        for u in range(20)
        for i in range(u % 5, 40, 3)
    ]
    return [*puts, *clicks]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Generator[Serving]:
    folder = tmp_path_factory.mktemp("examples")
    (folder / FILE).write_text("\n".join([RECIPES, *EXAMPLES]), encoding="utf-8")
    workspace = Workspace.open(folder, clock=FakeClock(NOW))
    workspace.log.append(events())
    workspace.train()
    serving = workspace.serving()
    yield serving
    serving.close()
    workspace.close()


def test_every_example_feeds_somebody_and_a_stranger(serving: Serving) -> None:
    assert len(EXAMPLES) == 4
    for feed in re.findall(r"\[feeds\.(\w+)\]", "".join(EXAMPLES)):
        values = {"most": [30.0]} if feed == "deals" else {}
        for user in ("u1", "nobody-knows"):
            found = serving.feed(feed, user, k=10, filter_values=values)
            assert len({slot.item_id for slot in found.slots}) == 10, feed
            assert not [step for step in found.trace if step.failure]


def test_the_requests_of_the_page_work(serving: Serving) -> None:
    few = serving.feed("home", "u1", k=5, filters=["in_stock", "cheap"], filter_values={"most": [20.0]})
    assert len(few.slots) == 5
    put = serving.feed(
        "home", "u1", k=10, promotions=[PromotionNamed("cheap", 20)], filter_values={"most": [20.0]}
    )
    assert [slot.source for slot in put.slots].count("promotion:cheap") == 2
    near = serving.feed("home", "u1", k=5, filters=["near"], filter_values={"lat": [50.0], "lon": [11.0]})
    assert [slot.item_id for slot in near.slots] == ["i02"]


def test_the_magazine_is_as_the_page_says(serving: Serving) -> None:
    found = serving.feed("magazine", "u1", k=15, explain=True)
    assert found.slots[0].item_id == "welcome"
    assert found.slots[2].source == "popular"
    step = next(step for step in found.trace if step.stage.startswith("mixer"))
    for at in (4, 9, 14):
        news = "news" in str(serving.item(found.slots[at].item_id)["category"])
        assert news or "place 5: category news" in step.broken
