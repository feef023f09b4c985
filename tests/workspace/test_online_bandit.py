"""The category bandit of a workspace: it learns only through the log, and comes back from it."""

import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from penchant.data.events import Acted, Served
from penchant.feed.category_state import CATEGORIES
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Silent
from penchant.testing.clock import FakeClock
from penchant.workspace.online_bandit import FOLDER
from penchant.workspace.service import Workspace
from penchant.workspace.serving import Serving
from penchant.workspace.settings import FILE, Settings

NOW = 1_700_000_000.0
SETTINGS = """
[recipes.popular]
recipe = "popularity"
[feeds.discover]
blocks = [{ source = "categories", take = 2 }, { source = "popular", take = 1 }]
rules = [{ rule = "seen" }]
fallback = "popular"
categories = { wait = "1m", examined = 6, waits = {} }
[serving]
refresh_seconds = 0.05
"""
KINDS = ("news", "shoes", "food")


@pytest.fixture
def workspace(tmp_path: Path) -> Generator[Workspace]:
    (tmp_path / FILE).write_text(SETTINGS)
    rng = np.random.default_rng(0)
    lines = ["item_id,category"] + [f"{kind}-{i},{kind}" for kind in KINDS for i in range(8)]
    (tmp_path / "items.csv").write_text("\n".join(lines))
    rows = ["user_id,item_id,timestamp,event_type"]
    for n in range(400):
        kind = KINDS[int(rng.integers(3))]
        rows.append(f"u{n % 50},{kind}-{rng.integers(8)},{NOW - 86400 + n},click")
    (tmp_path / "interactions.csv").write_text("\n".join(rows))
    made = Workspace.open(tmp_path, clock=FakeClock(NOW))
    made.import_files(items=[tmp_path / "items.csv"], interactions=[tmp_path / "interactions.csv"])
    made.train(progress=Silent())
    yield made
    made.close()


def rates(serving: Serving, user: str = "nobody") -> dict[str, float]:
    view = serving._view  # pyright: ignore[reportPrivateUsage]
    bandit = view.bandits.get("discover")
    assert bandit is not None
    request = view.request("discover", user, request_id="r", k=6, now=NOW)
    a, b = bandit.dealer().beliefs(request)
    return dict(zip(bandit.state.evidence.arms, (a / (a + b)).tolist(), strict=True))


def use(workspace: Workspace, serving: Serving, times: int, start: int = 0) -> None:
    """Users who take shoes whenever they see them; each request is in the log before the next second."""
    clock = workspace.clock
    assert isinstance(clock, FakeClock)
    for n in range(start, start + times):
        clock.advance(10.0)
        feed = serving.feed("discover", f"v{n % 7}", k=6)
        serving.flush()
        shoes = [
            slot for slot in feed.slots if slot.item_id.startswith("shoes") and slot.source == CATEGORIES
        ]
        if shoes:
            serving.record(
                [
                    Acted(
                        event_id=f"a{n}",
                        timestamp=clock.now() + 2,
                        user_id=f"v{n % 7}",
                        item_id=shoes[0].item_id,
                        recommendation_id=feed.request_id,
                    )
                ]
            )


def test_what_is_served_has_its_chance_in_the_log(workspace: Workspace) -> None:
    serving = workspace.serving()
    feed = serving.feed("discover", "somebody", k=9, explain=True)
    assert [slot.source == CATEGORIES for slot in feed.slots] == [True, True, False] * 3
    for slot in feed.slots:
        assert slot.propensity is not None
        assert slot.propensity == 1.0 if slot.source == "popular" else 0 < slot.propensity < 1
        if slot.source == CATEGORIES:
            assert slot.why.split(" in ")[1] == slot.item_id.split("-")[0]
    serving.close()
    served = [event for _, event in workspace.log.tail(0, 10_000) if isinstance(event, Served)]
    assert [slot.propensity for slot in served[0].slots] == [slot.propensity for slot in feed.slots]


def test_it_learns_within_a_second_and_a_restart_gives_the_same(workspace: Workspace) -> None:
    serving = workspace.serving()
    before = rates(serving)
    use(workspace, serving, 40)
    until = time.monotonic() + 1.0
    while rates(serving)["shoes"] < 2 * before["shoes"]:
        assert time.monotonic() < until
        time.sleep(0.01)
    use(workspace, serving, 30, start=40)
    serving.refresh()
    known = rates(serving), rates(serving, "v1")
    assert known[0]["shoes"] > 2 * max(known[0]["news"], known[0]["food"])
    serving.close()

    state = workspace.folder / FOLDER / "discover.state"
    assert state.is_file()
    for step in ("checkpoint", "log alone", "damaged checkpoint", "retrained"):
        if step == "log alone":
            state.unlink()
        if step == "damaged checkpoint":
            state.write_bytes(b"\x00\x01")
        if step == "retrained":
            state.unlink()
            workspace.train(progress=Silent())
        again = workspace.serving()
        if step == "retrained":  # history, from which rates start, has grown
            assert rates(again)["shoes"] == pytest.approx(known[0]["shoes"], rel=0.05)
        else:
            assert rates(again) == pytest.approx(known[0], rel=1e-9), step
            assert rates(again, "v1") == pytest.approx(known[1], rel=1e-9), step
        again.close()


def test_a_new_training_while_serving_keeps_what_was_learnt(workspace: Workspace) -> None:
    serving = workspace.serving()
    use(workspace, serving, 40)
    serving.refresh()
    version, known = serving.model_version, rates(serving)
    workspace.train(progress=Silent())
    serving.refresh()
    assert serving.model_version != version
    assert rates(serving)["shoes"] == pytest.approx(known["shoes"], rel=0.05)
    use(workspace, serving, 20, start=40)
    serving.refresh()
    assert rates(serving)["shoes"] > known["shoes"]
    serving.close()


def test_people_are_forgotten_by_what_is_served_now(workspace: Workspace) -> None:
    serving = workspace.serving()
    use(workspace, serving, 30)
    serving.refresh()
    known = rates(serving)["shoes"]
    state = workspace.folder / FOLDER / "discover.state"
    workspace.forget(["v1", "v2", "v3", "v4", "v5", "v6"])
    serving.refresh()
    bandit = serving._view.bandits.get("discover")  # pyright: ignore[reportPrivateUsage]
    assert bandit is not None
    assert bandit.state.evidence.state().passing == ["user:v0"]
    assert rates(serving)["shoes"] < known
    serving.close()
    assert b"v1" not in state.read_bytes()


def test_an_event_sent_twice_counts_once(workspace: Workspace) -> None:
    serving = workspace.serving()
    feed = serving.feed("discover", "x", k=6)
    serving.flush()
    slot = feed.slots[0]
    for n, kind in enumerate(("click", "click", "like")):
        serving.record(
            [
                Acted(
                    event_id="same" if n < 2 else "other",
                    timestamp=NOW + 1,
                    user_id="x",
                    item_id=slot.item_id,
                    event_type=kind,
                    recommendation_id=feed.request_id,
                )
            ]
        )
    serving.refresh()
    bandit = serving._view.bandits.get("discover")  # pyright: ignore[reportPrivateUsage]
    assert bandit is not None
    assert bandit.state.evidence.of_node("all", NOW + 1)[0].sum() == pytest.approx(1.0, rel=1e-5)
    serving.close()


def test_two_kinds_of_chance_in_one_feed_are_refused() -> None:
    with pytest.raises(InputError, match="explores by itself"):
        Settings.of_toml(SETTINGS.replace("[serving]", "explore = { weight = 0.3 }\n[serving]"))
    with pytest.raises(InputError, match=r"categories.personas: there is no recipe named 'nobody'"):
        Settings.of_toml(SETTINGS.replace('wait = "1m"', 'personas = "nobody"'))
    for wrong in ('wait = "soon"', "uniform = 0", 'policy = "best"'):
        with pytest.raises(InputError, match=r"feeds.discover.categories"):
            Settings.of_toml(SETTINGS.replace('wait = "1m"', wrong))
