"""A feed of news: articles and readers that came after the training are in the next feed."""

import time
from pathlib import Path

import numpy as np

from penchant.data.events import Acted, ItemPut
from penchant.kernel.progress import Silent
from penchant.testing.clock import FakeClock
from penchant.workspace.service import Workspace
from penchant.workspace.settings import FILE

NOW = 1_700_000_000.0
SETTINGS = """
[recipes.next]
recipe = "co_visitation"
[recipes.popular]
recipe = "popularity"
[feeds.home]
blocks = [{ source = "next", take = 1 }]
rules = [{ rule = "seen" }]
fallback = "popular"
[serving]
refresh_seconds = 0.05
"""


def click(user: str, item: str, ago: float) -> Acted:
    return Acted(event_id=f"{user} {item}", timestamp=NOW - ago, user_id=user, item_id=item)


def test_new_articles_read_by_strangers_are_in_the_next_feed(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = ["user_id,item_id,timestamp"]
    for reader in range(100):
        first, second = rng.permutation(10)[:2]
        start = NOW - 3 * 3600 + 60 * reader
        rows += [f"r{reader},old-{first},{start:.0f}", f"r{reader},old-{second},{start + 40:.0f}"]
    (tmp_path / "clicks.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / FILE).write_text(SETTINGS)
    workspace = Workspace.open(tmp_path, clock=FakeClock(NOW))
    workspace.import_files(interactions=[tmp_path / "clicks.csv"], progress=Silent())
    workspace.train()
    serving = workspace.serving()
    try:
        serving.record([ItemPut(event_id="born", timestamp=NOW - 100, item_id="born")])
        for n in range(5):  # strangers who read "old-3" and then the new article
            serving.record([click(f"s{n}", "old-3", 90 - n), click(f"s{n}", "born", 60 - n)])
        serving.record([click("asker", "old-3", 5)])
        begun = time.monotonic()
        feed = serving.feed("home", "asker", k=3)
        while feed.slots[0].item_id != "born" and time.monotonic() < begun + 10:
            time.sleep(0.02)
            feed = serving.feed("home", "asker", k=3)
        assert feed.slots[0].item_id == "born"
        assert feed.slots[0].source == "next"
        # Who has read it gets something else, and somebody never heard of gets what is read now.
        assert "born" not in [slot.item_id for slot in serving.feed("home", "s1", k=3).slots]
        assert serving.feed("home", "nobody", k=1).slots[0].item_id in ("born", "old-3")
    finally:
        serving.close()
        workspace.close()


def test_a_model_older_than_the_snapshot_learns_what_came_between(tmp_path: Path) -> None:
    lines = ["user_id,item_id,timestamp"]
    lines += [f"r{n},{item},{NOW - 7200 + 60 * n + at}" for n in range(20) for at, item in enumerate("ab")]
    (tmp_path / "clicks.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / FILE).write_text(SETTINGS)
    workspace = Workspace.open(tmp_path, clock=FakeClock(NOW))
    workspace.import_files(interactions=[tmp_path / "clicks.csv"], progress=Silent())
    workspace.train()
    serving = workspace.serving()
    serving.record([e for n in range(9) for e in (click(f"s{n}", "b", 90 - n), click(f"s{n}", "a", 60 - n))])
    workspace.train(["popular"])  # another snapshot; the model of co_visitation stays
    serving.refresh()
    try:
        serving.record([click("asker", "b", 1)])
        serving.refresh()
        assert serving.feed("home", "asker", k=1).slots[0].item_id == "a"
    finally:
        serving.close()
        workspace.close()
