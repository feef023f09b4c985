"""A log that hangs: feeds that must be logged are refused, at once, and all else is answered meanwhile."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from litestar.testing import TestClient

from penchant.data.eventlog import Appended
from penchant.data.events import AnyEvent, Served
from penchant.http.app import create_app
from penchant.testing.data import item_id, user_id
from penchant.workspace.service import Workspace

QUEUE = 6
QUICK = 2.0  # seconds for one answer on a busy machine; the old writer held the loop for 5


@pytest.fixture
def opened(folder: Path) -> Workspace:
    settings = folder / "penchant.toml"
    unlogged = settings.read_text().replace("[feeds.only]\n", "[feeds.only]\nlog_served = false\n")
    settings.write_text(unlogged + f"[serving]\nqueue = {QUEUE}\n")
    return Workspace.open(folder)


def test_a_stuck_log_stops_only_what_it_must(opened: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    go, stuck = threading.Event(), threading.Event()
    append = opened.log.append

    def hangs(events: Sequence[AnyEvent]) -> Appended:
        if isinstance(events[0], Served):
            stuck.set()
            assert go.wait(60)
        return append(events)

    monkeypatch.setattr(opened.log, "append", hangs)
    taken: list[float] = []
    with TestClient(create_app(opened)) as client:

        def status(path: str) -> int:
            begun = time.perf_counter()
            found = client.get(path).status_code
            taken.append(time.perf_counter() - begun)
            return found

        home = f"/v1/feeds/home/{user_id(1)}?k=5"
        try:
            answers = [status(home) for _ in range(QUEUE)]
            assert stuck.wait(10)
            answers += [status(home) for _ in range(4)]
            assert answers == [200] * QUEUE + [503] * 4
            refusal = client.get(home).json()["error"]
            assert refusal["code"] == "not_ready"
            assert "cannot be logged" in refusal["message"]
            assert status(f"/v1/feeds/only/{user_id(1)}?k=5") == 200, "what need not be logged goes on"
            assert status(f"/v1/items/{item_id(1)}/similar") == 200
            assert status("/v1/health") == 200
            assert "penchant_refused_feeds 5.0" in client.get("/metrics").text
        finally:
            go.set()
        until = time.monotonic() + 20
        while client.get("/v1/health").json()["waiting"] and time.monotonic() < until:
            time.sleep(0.02)
        assert status(home) == 200
    assert max(taken) < QUICK
    logged = [event for _, event in opened.log.tail(0, 100_000) if isinstance(event, Served)]
    assert len(logged) == QUEUE + 1, "all that was answered is logged, nothing that was refused"
    opened.close()
