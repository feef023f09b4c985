"""Rules, filters and promotions declared in penchant.toml, through the whole workspace."""

from collections.abc import Generator

import pytest

from penchant.data.events import Acted, AnyEvent, ItemPut, UserPut
from penchant.feed.filter_run import Filter, compile_filter
from penchant.feed.item_columns import Columns
from penchant.kernel.errors import InputError
from penchant.testing.clock import FakeClock
from penchant.workspace import filters
from penchant.workspace.service import Workspace
from penchant.workspace.serving import Serving
from penchant.workspace.settings import FILE

DAY = 86400.0
NOW = 1_700_000_000.0
N = 30
SETTINGS = """
[filters]
red = 'INCLUDE ItemID WHERE Items.COLOUR = "red"'
below = "INCLUDE ItemID WHERE Items.PRICE < $most"
not_bought = 'EXCLUDE ItemID WHERE Interactions.EVENT_TYPE = "buy" AND Interactions.TIMESTAMP > now-30d'

[recipes.for_you]
recipe = "ials"
factors = 4
epochs = 3
[recipes.popular]
recipe = "popularity"
window = "all"

[feeds.plain]
blocks = [{ source = "popular" }]

[feeds.ruled]
blocks = [{ source = "popular" }]
rules = [
  { rule = "shown", hide_after = 2, again_after_days = 7 },
  { rule = "sensitive", property = "adult", allowed_by = "of_age" },
]
filters = ["not_bought"]
negative = { events = { hide = 2.0 }, lowers = ["colour"] }

[feeds.unlike]
blocks = [{ source = "popular" }]
rules = [
  { rule = "seen", duplicates = { text = ["title"] } },
  { rule = "shown", hide_after = 1, duplicates = { text = ["title"] } },
]
negative = { events = { hide = 1.0 }, lowers = [], duplicates = { text = ["title"] } }

[feeds.turning]
blocks = [{ source = "popular" }]
rotation = { rate = 0.9, half_life_hours = 2.0 }

[feeds.red_first]
blocks = [{ source = "popular" }]
promotions = [{ filter = "red", percent = 20 }]

[feeds.red_twice]
blocks = [{ source = "popular" }]
promotions = [{ filter = "red", slots = 2 }]

[feeds.mixed]
blocks = [{ source = "popular", take = 2 }, { source = "for_you" }]
caps = [{ property = "shop", most = 2, within = 4 }]
duplicates = { text = ["title"] }
places = [
  { at = 1, item = "item-20" },
  { at = 4, every = 4, property = "colour", any_of = ["blue"] },
]
diversity = { relevance = 0.8 }
author_decay = { property = "colour", decay = 0.5, floor = 0.1 }
explore = { weight = 0.0 }

[feeds.tasted]
blocks = [{ source = "for_you" }]
rules = [{ rule = "seen" }]
negative = { events = { hide = 1.0 } }
event_weights = { view = 0 }
"""


def name(i: int) -> str:
    return f"item-{i:02d}"


def events() -> list[AnyEvent]:
    """Item i is taken by 3 (N - i) users, so that popularity gives items in order; every third is red."""
    puts: list[AnyEvent] = [
        ItemPut(
            event_id=f"p{i}",
            timestamp=NOW - 30 * DAY,
            item_id=name(i),
            properties={
                "colour": ["red", "green", "blue"][i % 3],
                "price": float(i),
                "adult": i in (0, 4),
                "shop": i % 4,
                "title": "The same" if i in (2, 3, 5) else f"Number {i}",
            },
        )
        for i in range(N)
    ]
    clicks = [
        Acted(event_id=f"c{i}-{u}", timestamp=NOW - 20 * DAY, user_id=f"u{u}", item_id=name(i))
        for i in range(N)
        for u in range(3 * (N - i))
    ]
    return [*puts, *clicks]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Workspace, FakeClock]]:
    folder = tmp_path_factory.mktemp("shop")
    (folder / FILE).write_text(SETTINGS)
    clock = FakeClock(NOW)
    workspace = Workspace.open(folder, clock=clock)
    workspace.log.append(events())
    workspace.train()
    yield workspace, clock
    workspace.close()


@pytest.fixture
def serving(made: tuple[Workspace, FakeClock]) -> Generator[Serving]:
    serving = made[0].serving()
    yield serving
    serving.close()


def items(serving: Serving, feed: str, user: str, *, k: int = 5, **more: object) -> list[int]:
    found = serving.feed(feed, user, k=k, **more)  # pyright: ignore[reportArgumentType] # by name
    serving.flush()
    serving.refresh()
    return [int(slot.item_id.removeprefix("item-")) for slot in found.slots]


def act(serving: Serving, user: str, i: int, event_type: str, *, ago: float = 1.0) -> None:
    serving.record(
        [
            Acted(
                event_id=f"{user}-{i}-{event_type}",
                timestamp=NOW - ago,
                user_id=user,
                item_id=name(i),
                event_type=event_type,
            )
        ]
    )


def test_what_was_shown_in_vain_is_hidden_in_every_process_and_after_a_training(
    made: tuple[Workspace, FakeClock], serving: Serving
) -> None:
    workspace, clock = made
    assert items(serving, "ruled", "vain") == [1, 2, 3, 5, 6]
    assert items(serving, "ruled", "vain") == [1, 2, 3, 5, 6]
    assert items(serving, "ruled", "vain", k=2) == [7, 8]
    act(serving, "vain", 2, "view", ago=-1.0)  # something was done with this one
    clock.advance(60.0)
    expected = [2, 7, 8, 9, 10]
    second = workspace.serving()
    assert items(second, "ruled", "vain") == expected
    workspace.log.seal()
    workspace.train()
    serving.refresh()
    third = workspace.serving()
    assert items(third, "ruled", "vain", k=4) == items(serving, "ruled", "vain", k=4)
    clock.advance(8 * DAY)
    assert items(serving, "ruled", "vain") == [1, 2, 3, 5, 6]
    clock.advance(-8 * DAY - 60.0)
    second.close()
    third.close()


def test_flags_purchases_and_dislikes(serving: Serving) -> None:
    assert items(serving, "ruled", "a", k=3) == [1, 2, 3]
    serving.record([UserPut(event_id="grown", timestamp=NOW, user_id="grown", properties={"of_age": True})])
    assert items(serving, "ruled", "grown", k=3) == [0, 1, 2]
    act(serving, "b", 1, "buy", ago=DAY)
    act(serving, "b", 2, "buy", ago=31 * DAY)
    assert items(serving, "ruled", "b", k=3) == [2, 3, 5]
    act(serving, "c", 1, "hide")  # a green one: green items fall to a quarter
    assert items(serving, "ruled", "c", k=8) == [2, 3, 5, 6, 8, 9, 11, 12]
    assert items(serving, "plain", "c", k=3) == [0, 1, 2]


def test_rotation_brings_others_up_and_back(made: tuple[Workspace, FakeClock], serving: Serving) -> None:
    clock = made[1]
    assert items(serving, "turning", "r", k=3) == [0, 1, 2]
    assert items(serving, "turning", "r", k=3) == [3, 4, 5]
    clock.advance(2 * DAY)
    assert items(serving, "turning", "r", k=3) == [0, 1, 2]
    clock.advance(-2 * DAY)


def test_what_says_the_same_as_something_hidden_is_hidden(serving: Serving) -> None:
    assert items(serving, "unlike", "a1", k=3) == [0, 1, 2]
    assert items(serving, "unlike", "a1", k=3) == [4, 6, 7]  # 3 and 5 say what 2 said, which was shown
    act(serving, "a2", 3, "buy")
    assert set(items(serving, "unlike", "a2", k=N)) == set(range(N)) - {2, 3, 5}
    act(serving, "a3", 5, "hide")
    told = serving.feed("unlike", "a3", k=N, explain=True)
    assert {2, 3, 5}.isdisjoint(int(slot.item_id.removeprefix("item-")) for slot in told.slots)
    assert "like seen" in {reason for step in told.trace for reason in step.dropped}


def test_named_filters_take_values_and_promotions_take_places(serving: Serving) -> None:
    assert items(serving, "plain", "f", filters=["red"]) == [0, 3, 6, 9, 12]
    below = {"filters": ["red", "below"], "filter_values": {"most": [5.0]}}
    assert items(serving, "plain", "f", **below) == [0, 3]
    feed = serving.feed("plain", "f", k=10, promotions=[filters.PromotionNamed("red", 30)])
    promoted = [slot.item_id for slot in feed.slots if slot.source == "promotion:red"]
    assert promoted == [name(0), name(3), name(6)]
    two = serving.feed("plain", "f", k=10, promotions=[filters.PromotionNamed("red", count=2)])
    assert [slot.source for slot in two.slots].count("promotion:red") == 2
    all_ = serving.feed("plain", "f", k=3, promotions=[filters.PromotionNamed("red", count=9)])
    assert [slot.source for slot in all_.slots] == ["promotion:red"] * 3
    counted = serving.feed("red_twice", "f", k=20)
    assert [slot.source for slot in counted.slots].count("promotion:red") == 2
    own = serving.feed("red_first", "f", k=10, filters=["below"], filter_values={"most": [20.0]})
    assert [slot.source for slot in own.slots].count("promotion:red") == 2
    assert {slot.propensity for slot in own.slots} == {None}
    assert len({slot.item_id for slot in own.slots}) == 10


def test_a_filter_is_compiled_once(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []

    def counted(text: str, columns: Columns) -> Filter:
        texts.append(text)
        return compile_filter(text, columns)

    monkeypatch.setattr(filters, "compile_filter", counted)
    for i in range(20):
        values = {"most": [float(i + 1)]}
        serving.feed(
            "plain",
            f"f{i}",
            k=5,
            filters=["below"],
            filter_values=values,
            promotions=[filters.PromotionNamed("red", 20)],
        )
    assert len(texts) == len(set(texts)) == 2


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"filters": ["reed"]}, "there is no filter 'reed'. Did you mean 'red'?"),
        ({"promotions": [filters.PromotionNamed("reed", 3)]}, "there is no filter 'reed'"),
        ({"filters": ["below"]}, "the filter needs a value for $most"),
        ({"filters": ["below"], "filter_values": {"mst": [1.0]}}, "needs a value for $most"),
        ({"filters": ["red"], "filter_values": {"most": [1.0]}}, "no filter of this request takes 'most'"),
        ({"filter_values": {"most": [1.0]}}, "no filter of this request takes 'most'"),
        (
            {"promotions": [filters.PromotionNamed("red", 60), filters.PromotionNamed("red", 50)]},
            "ask for 110% of the places",
        ),
    ],
)
def test_wrong_filters_say_what_is_wrong(serving: Serving, more: dict[str, object], says: str) -> None:
    with pytest.raises(InputError) as error:
        serving.feed("plain", "f", k=5, **more)  # pyright: ignore[reportArgumentType] # by name
    assert says in str(error.value)


def test_a_feed_is_laid_out_as_declared(serving: Serving) -> None:
    for user in ("nobody-knows", "u80"):
        feed = serving.feed("mixed", user, k=12, explain=True)
        found = [int(slot.item_id.removeprefix("item-")) for slot in feed.slots]
        assert len(set(found)) == 12
        assert found[0] == 20
        assert feed.slots[0].why == "pinned to this place"
        assert [found[at] % 3 for at in (3, 7, 11)] == [2, 2, 2]
        assert len(set(found) & {2, 3, 5}) <= 1
        for at in range(12):
            shops = [row % 4 for row in found[max(at - 3, 0) : at + 1]]
            assert max(map(shops.count, shops)) <= 2
        assert {slot.propensity for slot in feed.slots} == {1.0}
        assert [dict(step.broken) for step in feed.trace if step.stage.startswith("mixer")] == [{}]


def test_a_dislike_and_an_event_of_no_weight_say_nothing_about_taste(serving: Serving) -> None:
    before = items(serving, "tasted", "u60", k=3)
    act(serving, "u60", 29, "view")
    assert 29 not in before
    assert items(serving, "tasted", "u60", k=3) == before
    act(serving, "stranger", 5, "hide")
    told = serving.feed("tasted", "stranger", k=3)
    assert {slot.source for slot in told.slots} == {"fallback"}
    act(serving, "stranger", 5, "click")
    assert {slot.source for slot in serving.feed("tasted", "stranger", k=3).slots} == {"for_you"}
