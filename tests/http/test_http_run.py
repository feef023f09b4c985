"""The service as processes: workers, signals, deaths and new models, over real sockets."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import START
from penchant.data.events import Acted, Served
from penchant.workspace.service import Workspace

SERVE = """
import sys
from pathlib import Path
from penchant.http.run import serve
from penchant.workspace.service import Workspace
folder, workers = Path(sys.argv[1]), int(sys.argv[2])
say = lambda url: print(url, flush=True)
serve(Workspace.open(folder), host="127.0.0.1", port=0, workers=workers, on_listen=say)
print("ended", flush=True)
"""
QUIET = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


class Service:
    def __init__(self, folder: Path, workers: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(folder), str(workers)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | QUIET,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), self.process.communicate()[1]

    def ask(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data), timeout=20) as answer:
            text = answer.read().decode()
        return text if path == "/metrics" else json.loads(text)

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(how)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err

    def workers(self) -> set[int]:
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {int(pid) for pid in listed if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def counted(service: Service) -> float:
    """Return how many feeds the service says it answered."""
    pattern = r'request_seconds_count\{.*/v1/feeds.*status="200"\} (\S+)'
    found = re.search(pattern, service.ask("/metrics"))
    return float(found[1]) if found else 0.0


@contextlib.contextmanager
def serving(folder: Path, workers: int) -> Iterator[Service]:
    service = Service(folder, workers)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.process.kill()
            service.process.communicate()


def soon(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            if true():
                return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_one_worker_with_everything_written_down(folder: Path, how: signal.Signals) -> None:
    with serving(folder, 1) as service:
        asked = [service.ask(f"/v1/feeds/home/u{i:03d}?k=3")["request_id"] for i in range(20)]
        code, out, err = service.end(how)
    assert (code, out) == (0, "ended\n"), err
    assert "Traceback" not in err
    workspace = Workspace.open(folder)
    served = [e.event_id for _, e in workspace.log.tail(0, 10_000) if isinstance(e, Served)]
    workspace.close()
    assert sorted(served) == sorted(asked)


def test_new_models_are_swapped_in_without_dropping_a_request(folder: Path) -> None:
    answers: list[str] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def hammer(service: Service) -> None:
        while not stop.is_set():
            try:
                answers.append(service.ask("/v1/feeds/home/u001?k=5")["model_version"])
            except (OSError, ValueError) as error:
                failures.append(error)

    with serving(folder, 1) as service:
        before = service.ask("/v1/feeds/home/u001?k=5")["model_version"]
        threads = [threading.Thread(target=hammer, args=(service,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        workspace = Workspace.open(folder)
        workspace.log.append(
            [Acted(event_id="late", timestamp=START + 10_000, user_id="u001", item_id="i002")]
        )
        workspace.train()
        workspace.close()
        assert soon(lambda: service.ask("/v1/ready")["model_version"] != before)
        time.sleep(0.3)
        stop.set()
        for thread in threads:
            thread.join()
        assert service.end()[0] == 0
    assert failures == []
    assert len(set(answers)) == 2
    assert answers.count(before) > 5


def test_workers_share_the_work_the_numbers_and_the_events_and_are_replaced(folder: Path) -> None:
    with serving(folder, 2) as service:
        assert soon(lambda: len(service.workers()) == 2 and service.ask("/v1/ready")["status"] == "ready")
        # An event is in the feeds of every worker within a second, whichever worker took it.
        seen = service.ask("/v1/feeds/only/u000?k=1")["items"][0]["item_id"]
        event = {
            "kind": "acted",
            "event_id": "x",
            "timestamp": time.time(),
            "user_id": "u000",
            "item_id": seen,
        }
        assert service.ask("/v1/events", {"events": [event]})["acknowledged"] == 1
        time.sleep(1.0)
        for _ in range(20):
            answer = service.ask("/v1/feeds/only/u000?k=3")
            assert seen not in [item["item_id"] for item in answer["items"]]
        # Whichever worker is asked, the numbers are those of both.
        assert soon(lambda: counted(service) == 21)
        # A worker that dies is replaced, and the socket never closes.
        first = service.workers()
        os.kill(min(first), signal.SIGKILL)
        assert soon(lambda: len(service.workers() - first) == 1)
        assert soon(lambda: service.ask("/v1/ready")["status"] == "ready")
        code, out, err = service.end()
    assert (code, out) == (0, "ended\n"), err


def test_workers_do_not_outlive_a_killed_supervisor(folder: Path) -> None:
    with serving(folder, 2) as service:
        assert soon(lambda: len(service.workers()) == 2 and service.ask("/v1/ready")["status"] == "ready")
        workers = service.workers()
        service.end(signal.SIGKILL)
        assert soon(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        with pytest.raises(urllib.error.URLError):
            service.ask("/v1/ready")
