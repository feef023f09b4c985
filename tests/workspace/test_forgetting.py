"""Forgetting people: no byte of them stays, everything else does, and a kill leaves before or after."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from penchant.data.events import Acted, AnyEvent, Followed, ItemPut, Served, ServedSlot, UserPut
from penchant.data.log_snapshot import snapshot_of
from penchant.kernel.errors import InputError, NotReady
from penchant.testing.memory_log import MemoryLog
from penchant.workspace.service import Workspace

WHO = "person-to-forget"
SESSION = "browser-of-that-person"
NOW = 1_700_000_000.0
SETTINGS = """
[recipes.popular]
recipe = "popularity"

[recipes.for_you]
recipe = "ials"
factors = 4
epochs = 2

[feeds.home]
blocks = [{ source = "for_you" }]
fallback = "popular"
"""


def act(n: int, user: str, item: str, session: str | None = None) -> Acted:
    return Acted(event_id=f"e{n}", timestamp=NOW + n, user_id=user, item_id=item, session_id=session)


def story(user: str, session: str) -> list[AnyEvent]:
    """Return what one person leaves behind in every kind of event."""
    slot = ServedSlot(item_id="i1", position=0, source="popular")
    return [
        UserPut(event_id=f"put-{user}", timestamp=NOW, user_id=user, properties={"age": 30}),
        act(100, f"session:{session}", "i1", session),
        act(101, user, "i2", session),
        act(102, user, "i3"),
        Followed(event_id="f1", timestamp=NOW, user_id=user, followed_id="u1"),
        Followed(event_id="f2", timestamp=NOW, user_id="u2", followed_id=user),
        Served(event_id="s1", timestamp=NOW, user_id=user, feed="home", model_version="x", slots=[slot]),
        ItemPut(event_id="put-i9", timestamp=NOW, item_id="i9", properties={"author": user, "x": 1}),
        ItemPut(event_id="put-i8", timestamp=NOW, item_id="i8", properties={"author": ["u1", user]}),
    ]


def others() -> list[AnyEvent]:
    items = [
        ItemPut(event_id=f"put-i{i}", timestamp=NOW, item_id=f"i{i}", properties={"author": f"u{i}"})
        for i in range(6)
    ]
    clicks = [act(10 * u + i, f"u{u}", f"i{i}") for u in range(6) for i in range(6) if (u + i) % 3]
    follow = Followed(event_id="f3", timestamp=NOW, user_id="u1", followed_id="u2")
    return [*items, follow, *clicks, act(99, "session:somebody", "i4", "somebody")]


def fill(folder: Path, settings: str = SETTINGS) -> Workspace:
    """Return a workspace with the person in imported segments, sealed ones and the tail, and trained."""
    folder.mkdir()
    (folder / "penchant.toml").write_text(settings)
    workspace = Workspace.open(folder)
    csv = folder / "more.csv"
    csv.write_text(
        "user_id,item_id,timestamp\n"
        + f"u3,i5,{NOW:.0f}\n{WHO},i5,{NOW:.0f}\nu4,i5,{NOW:.0f}\n{WHO},i4,not-a-time\nu5,i4,not-a-time\n"
    )
    workspace.import_files(interactions=[csv])
    csv.unlink()
    first, last = story(WHO, SESSION)[:4], story(WHO, SESSION)[4:]
    workspace.log.append([*others(), *first])
    workspace.log.seal()
    workspace.log.append([*last, act(103, WHO, "i1", "a-later-session"), act(104, "u1", "i5")])
    workspace.train()
    (folder / "audiences/one").mkdir(parents=True)
    (folder / "audiences/one/request.json").write_text(f'{{"seeds": ["u1", "{WHO}"]}}')
    (folder / "audiences/two").mkdir()
    (folder / "audiences/two/request.json").write_text('{"seeds": ["u1"]}')
    return workspace


def everything(folder: Path) -> str:
    """Return the text of all files: as bytes, and what Parquet and SQLite hold inside."""
    told: list[str] = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        told.append(path.read_bytes().decode("latin-1"))
        if path.suffix == ".parquet":
            told.append(str(pq.read_table(path).to_pylist()))
        if path.suffix == ".sqlite":
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as con:
                told.append("\n".join(con.iterdump()))
    return "\n".join(told)


def seen_by_others(workspace: Workspace) -> list[AnyEvent]:
    """Return all events but those of the person, in order."""
    return [
        event
        for _, event in workspace.log.tail(0, 1000)
        if WHO not in str(event) and SESSION not in str(event)
    ]


def test_nothing_of_the_person_is_left_in_any_file(tmp_path: Path) -> None:
    workspace = fill(tmp_path / "ws")
    before = everything(tmp_path / "ws")
    assert before.count(WHO) > 5
    assert SESSION in before
    kept = seen_by_others(workspace)
    numbers = {event.event_id: n for n, event in workspace.log.tail(0, 1000)}
    receipt = workspace.forget([WHO])
    workspace.close()
    after = everything(tmp_path / "ws")
    assert WHO not in after
    assert SESSION not in after
    assert "a-later-session" not in after
    assert receipt.events == {"user_put": 1, "acted": 5, "followed": 2, "served": 1, "item_put": 2}
    assert len(receipt.files) >= 2
    assert all(one.new_rows < one.rows or one.file.count("item_put") for one in receipt.files)
    reopened = Workspace.open(tmp_path / "ws")
    left = reopened.log.tail(0, 1000)
    changed = {e.event_id: e.properties for _, e in left if e.event_id in ("put-i8", "put-i9")}  # type: ignore[union-attr]
    assert changed == {"put-i8": {"author": ["u1"]}, "put-i9": {"x": 1}}
    assert [e for _, e in left if e.event_id not in changed] == kept
    assert all(numbers[event.event_id] == n for n, event in left)
    clean = MemoryLog()
    clean.append([event for _, event in left])
    assert snapshot_of(reopened.log).digest == snapshot_of(clean).digest
    quarantine = "".join(p.read_text() for p in (tmp_path / "ws/quarantine").iterdir())
    assert "u5" in quarantine
    assert [job.name for job in (tmp_path / "ws/audiences").iterdir()] == ["two"]
    reopened.close()


def test_what_is_served_was_made_without_the_person_and_goes_on_following(tmp_path: Path) -> None:
    workspace = fill(tmp_path / "ws")
    serving = workspace.serving()
    assert serving.known_events(WHO) == 4 + 1  # one of them in a session before the log-in
    workspace.forget([WHO])
    serving.refresh()
    assert serving.known_events(WHO) == 0
    model = serving.model_version
    head = workspace.log.head()
    # The last event of the log goes too: whoever follows must not wait for its number.
    workspace.log.append([act(200, "second", "i1")])
    workspace.forget(["second"])
    serving.refresh()
    assert serving.health().head == workspace.log.head() == head + 1
    assert serving.model_version == model  # the same data, so the same models
    workspace.log.append([act(201, "u1", "i0")])
    serving.refresh()
    assert serving.health().head == head + 2
    assert len(serving.feed("home", "u1", k=3).slots) == 3
    serving.close()
    workspace.close()


def test_forgetting_an_import_twice_and_nobody(tmp_path: Path) -> None:
    workspace = fill(tmp_path / "ws")
    workspace.forget([WHO])
    assert workspace.forget([WHO]).events == {}
    with pytest.raises(InputError):
        workspace.forget([])
    assert workspace.log.append([act(101, WHO, "i2", SESSION)]).stored == 0  # an id that was there before
    csv = tmp_path / "again.csv"
    csv.write_text(f"user_id,item_id,timestamp\nu3,i5,{NOW:.0f}\n{WHO},i5,{NOW:.0f}\n")
    assert workspace.import_files(interactions=[csv]).tables[0].stored == 0
    workspace.close()


def test_the_last_person_leaves_nothing_to_serve(tmp_path: Path) -> None:
    (tmp_path / "penchant.toml").write_text('[recipes.popular]\nrecipe = "popularity"\n')
    workspace = Workspace.open(tmp_path)
    workspace.log.append([act(1, WHO, "i1")])
    workspace.train()
    workspace.forget([WHO])
    with pytest.raises(NotReady):
        workspace.serving()
    workspace.close()
    assert WHO not in everything(tmp_path)


KILLER = """
import os, sys
from pathlib import Path
from penchant.workspace.service import Workspace
workspace = Workspace.open(Path(sys.argv[1]))
left = int(sys.argv[2])

def counted(name, module=os):
    real = getattr(module, name)
    def call(*a, **k):
        global left
        left -= 1
        if left == 0:
            os._exit(9)
        return real(*a, **k)
    setattr(module, name, call)

for name in ("fsync", "rename", "replace", "unlink", "rmdir"):
    counted(name)
import sqlite3
import penchant.data.log_store as store
real = store._transaction
from contextlib import contextmanager
@contextmanager
def dying(con):
    global left
    with real(con):
        yield
        left -= 1
        if left == 0:
            os._exit(9)  # before COMMIT
    left -= 1
    if left == 0:
        os._exit(9)  # after it
store._transaction = dying
workspace.forget([sys.argv[3]])
workspace.close()
print(int(sys.argv[2]) - left)
"""


def test_a_log_of_the_first_format_is_brought_up(tmp_path: Path) -> None:
    workspace = fill(tmp_path / "ws")
    workspace.close()
    with sqlite3.connect(tmp_path / "ws/log/log.sqlite") as con:
        con.execute("DROP TABLE removed")
        con.execute("DROP TABLE pending")
        con.execute("PRAGMA user_version = 1")
    con.close()
    again = Workspace.open(tmp_path / "ws")
    assert again.forget([WHO]).events["acted"] == 5
    assert WHO not in str(again.log.tail(0, 1000))
    again.close()


def killed(whole: Path, folder: Path, moment: int) -> "subprocess.CompletedProcess[str]":
    """Forget in a copy of a workspace in a process that dies at its ``moment``-th step on the disk."""
    shutil.copytree(whole, folder)
    command = [sys.executable, "-c", KILLER, str(folder), str(moment), WHO]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True)


@pytest.mark.timeout(400)  # some fifteen processes, on a busy machine
def test_a_kill_at_any_moment_leaves_before_or_after(tmp_path: Path) -> None:
    quick = SETTINGS.replace('recipe = "ials"\nfactors = 4\nepochs = 2', 'recipe = "popularity"')
    whole = fill(tmp_path / "whole", quick)
    total, kept = len(whole.log.tail(0, 1000)), len(seen_by_others(whole))
    whole.close()
    steps = int(killed(tmp_path / "whole", tmp_path / "to-the-end", 1_000_000).stdout)
    # Most steps make the new files; what decides are the last ones.
    moments = [*range(steps // 5, steps, steps // 5), *range(steps - steps // 4, steps, steps // 32)]
    outcomes: list[str] = []
    for moment in moments:
        folder = tmp_path / f"killed-{moment}"
        if folder.exists():
            continue
        assert killed(tmp_path / "whole", folder, moment).returncode == 9
        workspace = Workspace.open(folder)
        events = workspace.log.tail(0, 1000)
        if len(events) == total:
            outcomes.append("before")
            assert WHO in str(events)
        else:
            outcomes.append("after")
            assert len(events) == kept + 2  # with the items that have lost an author
            assert WHO not in everything(folder)
            assert len(list((folder / "receipts").iterdir())) == 1
        serving = workspace.serving()  # what the pointer names is there, whole
        assert len(serving.feed("home", "u1", k=3).slots) == 3
        serving.close()
        workspace.close()
    assert outcomes.count("before") >= 2
    assert outcomes.count("after") >= 2
