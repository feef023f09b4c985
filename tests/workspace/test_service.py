"""The whole way on tiny data: import, check, train, feed, event, changed feed; and what goes wrong on it."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from penchant.data.events import Acted, ItemPut, Served
from penchant.data.interactions import Interactions
from penchant.kernel.errors import Conflict, InputError, NotFound, NotReady, PenchantError
from penchant.kernel.progress import Silent
from penchant.testing.clock import FakeClock
from penchant.workspace.service import Workspace
from penchant.workspace.serving import Serving
from penchant.workspace.settings import FILE
from penchant.workspace.training import LOCK, only_trainer

DAY = 86400.0
NOW = 1_700_000_000.0
SETTINGS = """
[recipes.for_you]
recipe = "ials"
factors = 4
epochs = 15
[recipes.trending]
recipe = "trending"
[recipes.popular]
recipe = "popularity"
window = "365d"
[feeds.home]
blocks = [
  { source = "for_you", take = 3 },
  { source = "trending", take = 1 },
  { source = "popular", take = 1 },
]
backfill = ["for_you", "popular", "trending"]
rules = [{ rule = "seen" }]
fallback = "popular"
k_max = 50
[feeds.similar]
blocks = [{ source = "similar:for_you", take = 1 }]
fallback = "popular"
[serving]
refresh_seconds = 0.05
"""
COLOURS, SIZE = 3, 8  # three groups of users, each with eight items of its own


def item(colour: int, i: int) -> str:
    return f"item-{colour}-{i}"


def write_data(folder: Path) -> dict[str, list[Path]]:
    """Users of a colour take that colour's items; each leaves two out."""
    rng = np.random.default_rng(5)
    rows = ["user_id,item_id,timestamp,event_type"]
    for user in range(60):
        colour = user % COLOURS
        for i in rng.permutation(SIZE)[:6].tolist():
            when = NOW - 20 * DAY + 1000 * user + i
            rows.append(f"user-{user},{item(colour, i)},{when:.0f},click")
    (folder / "interactions.csv").write_text("\n".join(rows) + "\n")
    items = ["item_id,title,author"]
    items += [f"{item(c, i)},Title {c} {i},author-{c}" for c in range(COLOURS) for i in range(SIZE)]
    (folder / "items.csv").write_text("\n".join(items) + "\n")
    return {"interactions": [folder / "interactions.csv"], "items": [folder / "items.csv"]}


def make(folder: Path, clock: FakeClock | None = None) -> Workspace:
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_text(SETTINGS)
    workspace = Workspace.open(folder, clock=FakeClock(NOW) if clock is None else clock)
    workspace.import_files(**write_data(folder), progress=Silent())
    return workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Generator[Workspace]:
    made = make(tmp_path / "shop")
    yield made
    made.close()


@pytest.fixture
def serving(workspace: Workspace) -> Generator[Serving]:
    workspace.train()
    made = workspace.serving()
    yield made
    made.close()


def click(user: str, item_id: str, n: int = 0, *, event_type: str = "click") -> Acted:
    return Acted(
        event_id=f"{user}-{item_id}-{event_type}-{n}",
        timestamp=NOW - 10 + n / 1000,
        user_id=user,
        item_id=item_id,
        event_type=event_type,
    )


def wait_for(what: str, condition: object, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():  # pyright: ignore[reportCallIssue] # a lambda
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def test_from_files_to_a_feed_that_follows_events(workspace: Workspace) -> None:
    assert isinstance(workspace.check(progress=Silent()), list)
    cards = workspace.train(progress=Silent())
    assert [card.recipe for card in cards] == ["ials", "trending", "popularity"]
    assert all(card.seconds > 0 and card.peak_mb > 0 for card in cards)
    serving = workspace.serving()
    feed = serving.feed("home", "user-4", k=10)
    assert len(feed.slots) == len({slot.item for slot in feed.slots}) == 10
    seen = {line.split(",")[1] for line in read(workspace, "interactions") if line.startswith("user-4,")}
    assert not seen & {slot.item_id for slot in feed.slots}
    mine = [slot.item_id for slot in feed.slots if slot.source == "for_you"]
    assert set(mine[:2]) == {item(1, i) for i in range(SIZE)} - seen  # what the user's colour has left

    taken = feed.slots[0].item_id
    serving.record([click("user-4", taken)])
    after = serving.feed("home", "user-4", k=10)
    assert taken not in [slot.item_id for slot in after.slots]
    assert after.request_id != feed.request_id
    serving.close()
    served = [event for _, event in workspace.log.tail(0, 100_000) if isinstance(event, Served)]
    assert [event.event_id for event in served] == [feed.request_id, after.request_id]
    assert [slot.item_id for slot in served[0].slots] == [slot.item_id for slot in feed.slots]
    assert [slot.position for slot in served[0].slots] == list(range(10))
    assert {slot.source for slot in served[0].slots} >= {"for_you", "popular"}
    assert {slot.propensity for slot in served[0].slots} == {1.0}
    assert served[0].model_version == feed.model_version == serving.model_version


def read(workspace: Workspace, name: str) -> list[str]:
    return (workspace.folder / f"{name}.csv").read_text().splitlines()


def test_a_user_unknown_until_now_is_served_at_once_and_personally_after_one_event(serving: Serving) -> None:
    before = serving.feed("home", "just came", k=5)
    assert len(before.slots) == 5
    assert "for_you" not in {slot.source for slot in before.slots}
    serving.record([click("just came", item(2, 0))])
    after = serving.feed("home", "just came", k=5)
    mine = [slot.item_id for slot in after.slots if slot.source == "for_you"]
    assert len(mine) == 3
    assert all(i.startswith("item-2-") for i in mine)
    assert item(2, 0) not in {slot.item_id for slot in after.slots}


def test_every_eligible_item_is_given_when_asked_and_no_other(serving: Serving) -> None:
    everything = {item(c, i) for c in range(COLOURS) for i in range(SIZE)}
    feed = serving.feed("home", "nobody", k=50, exclude=[item(0, 0), "no such item"])
    assert sorted(slot.item_id for slot in feed.slots) == sorted(everything - {item(0, 0)})
    serving.record([ItemPut(event_id="p", timestamp=NOW, item_id="brand new", properties={"title": "New"})])
    feed = serving.feed("home", "nobody", k=50)
    assert {slot.item_id for slot in feed.slots} == everything | {"brand new"}
    assert serving.item("brand new") == {"title": "New"}


@pytest.mark.parametrize("k", [0, -1, 51, 10**9])
def test_a_k_outside_the_limit_names_the_limit(serving: Serving, k: int) -> None:
    with pytest.raises(InputError, match="1 to 50"):
        serving.feed("home", "user-1", k=k)
    if k != 51:
        with pytest.raises(InputError, match="1 to 500"):
            serving.similar(item(0, 0), k)


def test_what_is_not_there_is_not_found_with_the_nearest_name(serving: Serving) -> None:
    with pytest.raises(NotFound, match="Did you mean 'home'"):
        serving.feed("hom", "user-1", k=3)
    with pytest.raises(NotFound, match="no item 'nothing'"):
        serving.similar("nothing", 3)
    with pytest.raises(NotFound, match="no item 'nothing'"):
        serving.item("nothing")
    with pytest.raises(NotFound, match="no item 'nothing'"):
        serving.feed("similar", "user-1", k=3, item_id="nothing")
    with pytest.raises(NotFound, match="knows which items are alike"):
        serving.similar(item(0, 0), 3, model="popular")
    with pytest.raises(NotFound, match="Did you mean 'popular'"):
        serving.similar(item(0, 0), 3, model="popula")


def test_similar_items_are_of_the_colour(serving: Serving) -> None:
    found = serving.similar(item(1, 3), 5)
    assert len(found) == 5
    assert all(i.startswith("item-1-") and i != item(1, 3) for i, _ in found)
    assert [s for _, s in found] == sorted((s for _, s in found), reverse=True)
    feed = serving.feed("similar", "nobody", k=4, item_id=item(1, 3))
    assert [slot.item_id for slot in feed.slots] == [i for i, _ in found[:4]]


def test_ranking_puts_what_cannot_be_scored_last(serving: Serving) -> None:
    serving.record([click("x", item(0, 1))])
    ranked = serving.rank("x", [item(1, 0), "unknown b", item(0, 2), "unknown a"])
    assert [i for i, _ in ranked] == [item(0, 2), item(1, 0), "unknown b", "unknown a"]
    assert [score is None for _, score in ranked] == [False, False, True, True]
    assert [score for _, score in serving.rank("nobody", [item(1, 0), item(0, 2)])] == [None, None]
    assert serving.rank("x", []) == []
    with pytest.raises(InputError, match="at most 1000"):
        serving.rank("x", ["a"] * 1001)


def test_why_is_told_from_facts(serving: Serving) -> None:
    feed = serving.feed("home", "user-4", k=5, explain=True)
    why = {slot.source: slot.why for slot in feed.slots}
    assert "Title 1 " in why["for_you"]
    assert re.fullmatch(r"taken by \d+ users in the last 365 days", why["popular"])
    assert re.fullmatch(r"rising: \d+ -> \d+ in 1 day", why["trending"])
    assert all(slot.why == "" for slot in serving.feed("home", "user-4", k=5).slots)


def test_online_models_learn_from_events(serving: Serving) -> None:
    hit = item(2, 7)
    serving.record([click(f"crowd-{n}", hit, n) for n in range(200)])
    serving.refresh()
    feed = serving.feed("home", "nobody", k=5)
    assert hit in [slot.item_id for slot in feed.slots if slot.source in ("trending", "popular")]


def test_another_process_s_events_are_followed_within_a_second(
    workspace: Workspace, serving: Serving
) -> None:
    other = Workspace.open(workspace.folder, clock=FakeClock(NOW))
    elsewhere = other.serving()
    elsewhere.record([click("shared", item(0, 3))])
    started = time.monotonic()
    wait_for(
        "the event",
        lambda: "for_you" in {slot.source for slot in serving.feed("home", "shared", k=3).slots},
    )
    assert time.monotonic() - started < 1.0
    elsewhere.close()
    other.close()


def test_the_same_log_gives_the_same_feed_in_every_process(workspace: Workspace, serving: Serving) -> None:
    rng = np.random.default_rng(3)
    for n in range(60):
        user = f"user-{rng.integers(70)}"
        serving.record([click(user, item(int(rng.integers(3)), int(rng.integers(8))), n)])
    serving.refresh()
    fresh = workspace.serving()  # folds the same tail in one go
    for user in range(0, 70, 7):
        here, there = (s.feed("home", f"user-{user}", k=10).slots for s in (serving, fresh))
        assert [s.item_id for s in here] == [s.item_id for s in there]
    fresh.close()


def test_new_models_are_taken_up_while_requests_go_on(workspace: Workspace, serving: Serving) -> None:
    old = serving.model_version
    failures: list[BaseException] = []
    versions: set[str] = set()
    stop = threading.Event()

    def ask(user: int) -> None:
        while not stop.is_set():
            try:
                feed = serving.feed("home", f"user-{user}", k=10)
                assert len(feed.slots) == 10
                versions.add(feed.model_version)
            except BaseException as error:  # noqa: BLE001 - it is shown by the test
                failures.append(error)
                return

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    serving.record([click(f"late-{n}", item(0, n % SIZE)) for n in range(40)])
    workspace.train()
    wait_for("the new models", lambda: serving.model_version != old and len(versions) > 1)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert serving.health().problem is None


def test_nothing_trained_is_not_ready(workspace: Workspace) -> None:
    with pytest.raises(NotReady, match="penchant train"):
        workspace.serving()


def test_init_makes_a_workspace_that_opens_once(tmp_path: Path) -> None:
    made = Workspace.init(tmp_path / "new" / "shop")
    assert made.settings.feeds["home"].blocks[0].take == 3
    made.close()
    with pytest.raises(Conflict, match="already"):
        Workspace.init(tmp_path / "new" / "shop")
    with pytest.raises(NotFound, match="penchant init"):
        Workspace.open(tmp_path / "new")


def test_training_nothing_or_the_unknown(tmp_path: Path, workspace: Workspace) -> None:
    with pytest.raises(NotFound, match="Did you mean 'popular'"):
        workspace.train(["populra"])
    empty = Workspace.init(tmp_path / "empty")
    with pytest.raises(InputError, match="penchant import"):
        empty.train()
    with pytest.raises(NotReady):
        empty.serving()
    empty.close()


def test_training_one_recipe_keeps_the_others_served(workspace: Workspace) -> None:
    workspace.train()
    before = workspace.registry.current()
    workspace.log.append([click(f"late-{n}", item(0, 0), n) for n in range(5)])
    workspace.train(["popular"])
    after = workspace.registry.current()
    assert after.snapshot != before.snapshot
    assert after.models["popular"] != before.models["popular"]
    assert after.models["for_you"] == before.models["for_you"]
    serving = workspace.serving()
    feed = serving.feed("home", "user-4", k=5)  # a model of the older snapshot in the rows of the newer
    assert feed.slots[0].item_id.startswith("item-1-")
    assert {slot.source for slot in feed.slots} >= {"for_you", "popular"}
    assert serving.feed("home", "late-1", k=5).slots[0].item_id.startswith("item-0-")
    serving.close()


def tree(folder: Path) -> dict[str, int]:
    """Return the files of the registry with the numbers of their inodes."""
    found = [p for part in ("models", "snapshots") for p in (folder / part).rglob("*") if p.is_file()]
    return {str(path.relative_to(folder)): path.stat().st_ino for path in found}


def test_training_again_on_the_same_data_makes_nothing_anew(workspace: Workspace) -> None:
    workspace.train()
    before, pointer = tree(workspace.folder), workspace.registry.current()
    workspace.train()
    assert tree(workspace.folder) == before
    assert workspace.registry.current().models == pointer.models


def test_what_nobody_foresaw_in_a_refresh_is_told_and_feeds_are_still_logged(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.train()
    serving = workspace.serving()

    def broken() -> None:
        raise RuntimeError("a page of memory is gone")

    monkeypatch.setattr(serving, "refresh", broken)
    until = time.monotonic() + 20
    while serving.health().problem is None and time.monotonic() < until:
        time.sleep(0.01)
    assert serving.health().problem == "RuntimeError: a page of memory is gone"
    head = workspace.log.head()
    serving.feed("home", "user-1", k=3)
    serving.flush()
    assert workspace.log.head() == head + 1
    serving.close()


def test_training_again_mends_a_model_that_cannot_be_opened(workspace: Workspace) -> None:
    """As after an update that keeps other arrays of a recipe: same data, same version, so same folder."""
    workspace.train()
    folder = next((workspace.folder / "models" / "for_you").glob("*"))
    array = next(folder.glob("*.npy"))
    before = array.read_bytes()
    array.unlink()
    with pytest.raises(InputError, match=r"missing.*Train again"):
        workspace.serving().close()
    workspace.train(["for_you"])
    assert array.read_bytes() == before
    workspace.serving().close()


def test_the_same_seed_trains_the_same_bytes(tmp_path: Path) -> None:
    made = [make(tmp_path / name) for name in ("a", "b")]
    for one in made:
        one.train()
    assert made[0].registry.current().models == made[1].registry.current().models
    files = [
        {str(p.relative_to(one.folder)): p.read_bytes() for p in one.folder.rglob("*.npy")} for one in made
    ]
    assert files[0] == files[1]
    for one in made:
        one.close()


def test_old_versions_go_but_never_the_one_that_is_served(workspace: Workspace) -> None:
    settings = workspace.folder / FILE
    settings.write_text(settings.read_text() + "[workspace]\nkeep_versions = 2\n")
    opened = Workspace.open(workspace.folder, clock=FakeClock(NOW))
    opened.train(["trending"])
    oldest = opened.registry.current().models["trending"]
    for n in range(4):
        opened.log.append([click("x", item(0, n), n)])
        opened.train(["popular"])
    versions = {p.name for p in (opened.folder / "models" / "popular").iterdir()}
    assert len(versions) == 2
    assert opened.registry.current().models["popular"] in versions
    assert opened.registry.has("trending", oldest)
    assert len(list((opened.folder / "snapshots").iterdir())) == 2
    opened.close()


def test_a_second_training_at_the_same_time_is_refused(workspace: Workspace) -> None:
    with only_trainer(workspace.folder), pytest.raises(Conflict, match=f"process {os.getpid()}"):
        workspace.train()
    workspace.train()  # the lock was given back
    assert (workspace.folder / LOCK).exists()


class Interrupts(Silent):
    """Stops the work when a piece of the given name begins."""

    def __init__(self, at: str) -> None:
        self.at = at

    def start(self, what: str, total: int | None = None) -> None:
        if what == self.at:
            raise KeyboardInterrupt


def test_ctrl_c_leaves_what_was_served_and_no_rubbish(workspace: Workspace) -> None:
    workspace.train(["popular"])
    before = workspace.registry.current()
    workspace.log.append([click("x", item(0, 0))])
    with pytest.raises(KeyboardInterrupt):
        workspace.train(progress=Interrupts("popularity"))
    assert workspace.registry.current() == before
    assert not list(workspace.folder.rglob("*.tmp"))
    workspace.serving().close()
    assert len(workspace.train()) == 3


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from penchant.kernel.progress import Silent
    from penchant.workspace.service import Workspace

    class Kills(Silent):
        def start(self, what, total=None):
            print(what, flush=True)
            if what == sys.argv[2]:
                half = Path(sys.argv[1]) / "models" / "popular" / ".half.tmp"
                half.mkdir(parents=True)
                (half / "counts.npy").write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)

    Workspace.open(Path(sys.argv[1])).train(progress=Kills())
"""


def test_a_killed_training_goes_on_where_it_stopped(workspace: Workspace) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(workspace.folder), "popularity"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with pytest.raises(NotReady):
        workspace.serving()  # nothing half-trained is served
    done = tree(workspace.folder)
    assert any(path.startswith("models/for_you/") for path in done)

    started: list[str] = []

    class Listens(Silent):
        def start(self, what: str, total: int | None = None) -> None:
            started.append(what)

    cards = workspace.train(progress=Listens())
    assert [card.recipe for card in cards] == ["ials", "trending", "popularity"]
    assert "ials" not in started
    assert "popularity" in started
    after = tree(workspace.folder)
    kept = {path: inode for path, inode in done.items() if ".tmp" not in path}
    assert kept.items() <= after.items()
    assert not list(workspace.folder.rglob("*.tmp"))
    serving = workspace.serving()
    assert len(serving.feed("home", "user-1", k=5).slots) == 5
    serving.close()


def test_a_log_that_takes_nothing_is_seen_in_health_and_nothing_is_lost(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.train()
    serving = workspace.serving()
    append = workspace.log.append
    full = threading.Event()
    full.set()

    def refuses(events: object) -> object:
        if full.is_set():
            raise PenchantError("the disk is full.")
        return append(events)  # pyright: ignore[reportArgumentType] # handed through

    monkeypatch.setattr(serving._writer, "_append", refuses)  # pyright: ignore[reportPrivateUsage]
    asked = [serving.feed("home", "user-1", k=3).request_id for _ in range(5)]
    wait_for("the problem", lambda: serving.health().problem is not None)
    assert serving.health().problem == "the disk is full."
    assert serving.health().waiting == 5
    with pytest.raises(NotReady, match="the disk is full"):
        serving.flush()
    full.clear()
    wait_for("all is written", lambda: serving.health().waiting == 0)
    assert serving.health().problem is None
    stored = [event.event_id for _, event in workspace.log.tail(0, 100_000) if isinstance(event, Served)]
    assert stored == asked
    serving.close()


def test_a_window_trains_on_what_is_recent_and_feeds_still_know_the_rest(workspace: Workspace) -> None:
    settings = workspace.folder / FILE
    settings.write_text(settings.read_text() + "[data]\nwindow_days = 5\n")
    opened = Workspace.open(workspace.folder, clock=FakeClock(NOW))
    opened.log.append([click(f"recent-{n}", item(0, n % SIZE), n) for n in range(30)])
    (card,) = opened.train(["popular"])
    assert card.interactions == 30
    serving = opened.serving()
    assert len(serving.feed("home", "user-4", k=50).slots) == COLOURS * SIZE - 6
    serving.close()
    opened.close()


def test_the_pointer_is_readable_and_a_damaged_one_says_what_to_do(workspace: Workspace) -> None:
    workspace.train(["popular"])
    pointer = json.loads(workspace.registry.pointer_file.read_text())
    assert set(pointer) == {"snapshot", "models", "published", "format"}
    workspace.registry.pointer_file.write_text("{")
    with pytest.raises(InputError, match="Run `penchant train`"):
        workspace.serving()
    workspace.train(["popular"])
    serving = workspace.serving()
    assert serving.feed("home", "user-1", k=1).slots
    workspace.registry.pointer_file.write_text("{ }")
    wait_for("the problem", lambda: serving.health().problem is not None)
    assert serving.feed("home", "user-1", k=1).slots  # what works goes on
    serving.close()


def test_interactions_are_the_same_as_in_the_file(workspace: Workspace) -> None:
    snapshot = workspace.snapshot()
    assert isinstance(snapshot.interactions, Interactions)
    assert len(snapshot.interactions) == len(read(workspace, "interactions")) - 1
