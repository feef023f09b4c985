"""Audiences over HTTP: a job from the seed list to the files, its errors, restarts and limits."""

import csv
import io
import random
import time
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient
from msgspec.structs import replace

from penchant.cli.main import run
from penchant.http.app import create_app
from penchant.http.audience_jobs import AudienceJobs
from penchant.http.audience_store import AudienceStore, Step
from penchant.http.audience_work import Told, held, work
from penchant.kernel.clock import SystemClock
from penchant.workspace.service import Workspace

PEOPLE = 300
GARDENERS = [f"u{u:03d}" for u in range(PEOPLE) if u % 4 == 0]
SEEDS = GARDENERS[:40]
PATIENCE = 120.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace where every fourth user mostly buys plants; the even ones live in DE."""
    folder = tmp_path_factory.mktemp("audiences") / "shop"
    rng, data = random.Random(0), folder.parent
    categories = ["plants", "bread", "milk", "soap"]
    rows = ["user_id,item_id,timestamp,event_type,event_value"]
    for user in range(PEOPLE):
        weights = [6, 1, 1, 1] if user % 4 == 0 else [0.4, 3, 3, 3]
        for _ in range(rng.randint(8, 25)):
            item = f"i{rng.choices(range(4), weights)[0]}{rng.randint(0, 9)}"
            rows.append(f"u{user:03d},{item},{1_600_000_000 + rng.randint(0, 200 * 86400)},purchase,1.5")
    (data / "interactions.csv").write_text("\n".join(rows) + "\n")
    items = [f"i{c}{i},{categories[c]}" for c in range(4) for i in range(10)]
    (data / "items.csv").write_text("\n".join(["item_id,category", *items]) + "\n")
    users = [f"u{u:03d},p{u}@mail.example,{'DE' if u % 8 == 0 else 'FR'}" for u in range(PEOPLE)]
    (data / "users.csv").write_text("\n".join(["user_id,email,country", *users]) + "\n")
    assert run(["init", str(folder)]) == 0
    tables = [f"--{t}={data / t}.csv" for t in ("users", "items", "interactions")]
    assert run(["-C", str(folder), "import", *tables]) == 0
    return folder


@pytest.fixture
def store(folder: Path) -> AudienceStore:
    return AudienceStore(folder)


def ended(client: TestClient[Any], audience: str) -> dict[str, Any]:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        answer = client.get(f"/v1/audiences/{audience}").json()
        if answer["status"] in ("done", "failed"):
            return answer
        time.sleep(0.1)
    raise AssertionError(f"still {answer}")


def test_a_job_from_the_list_to_the_files(folder: Path) -> None:
    with TestClient(create_app(Workspace.open(folder))) as client:
        body = {
            "seeds": [*SEEDS, "ghost"],
            "size": 12,
            "exclude": {"stop": GARDENERS[40:45]},
            "where": 'INCLUDE UserID WHERE Users.country = "DE"',
            "holdout": 0.25,
            "export": ["meta"],
        }
        posted = client.post("/v1/audiences", json=body)
        assert posted.status_code == 202
        audience = posted.json()["audience_id"]
        answer = ended(client, audience)
        assert answer["status"] == "done", answer
        assert answer["problem"] is None
        assert answer["card"]["excluded"]["stop"] == 5
        assert answer["card"]["excluded"]["filter"] > 200
        assert answer["submitted_at"] <= answer["started_at"] <= answer["ended_at"]
        listed = client.get(f"/v1/audiences/{audience}/files/audience.csv")
        assert listed.headers["content-type"].startswith("text/csv")
        ids = [row["user_id"] for row in csv.DictReader(io.StringIO(listed.text))]
        assert len(ids) == 12
        assert all(int(id_[1:]) % 8 == 0 for id_ in ids)  # of DE only, and nobody excluded
        assert not set(ids) & set(GARDENERS[:45])
        meta = client.get(f"/v1/audiences/{audience}/files/export_meta.csv").text
        assert len(meta.splitlines()) == 10
        assert "mail.example" not in meta
        report = client.get(f"/v1/audiences/{audience}/files/report.html")
        assert report.headers["content-type"].startswith("text/html")
        assert [a["audience_id"] for a in client.get("/v1/audiences").json()["audiences"]] == [audience]
        for name in ("request.json", "..%2Frequest.json", "..%2F..%2Fpenchant.toml"):
            assert client.get(f"/v1/audiences/{audience}/files/{name}").status_code == 404
        assert client.delete(f"/v1/audiences/{audience}").status_code == 204
        assert client.get(f"/v1/audiences/{audience}").status_code == 404
        assert not (folder / "audiences" / audience).exists()


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"seeds": []}, 400, "length >= 1"),
        ({"size": 0}, 400, ">= 1"),
        ({"method": "atuo"}, 400, "there is no 'atuo'"),
        ({"export": ["myspace"]}, 400, "there is no 'myspace'"),
        ({"distance": "far"}, 400, "far"),
        ({"values": [1.0]}, 400, "1 values for 40 seeds"),
        ({"where": "INCLUDE ItemID WHERE Items.X = 1"}, 400, "by UserID"),
        ({"where": "INCLUDE UserID WHERE"}, 400, ""),
        ({"previous": "nobody"}, 404, "no audience"),
        ({"colour": 1}, 400, "colour"),
        ({"seeds": ["x"] * 100_001}, 400, "[server] max_seeds"),
    ],
)
def test_wrong_requests_are_refused_at_once(
    folder: Path, store: AudienceStore, change: dict[str, Any], status: int, said: str
) -> None:
    before = len(store.jobs())
    with TestClient(create_app(Workspace.open(folder))) as client:
        answer = client.post("/v1/audiences", json={"seeds": SEEDS, "size": 5} | change)
    assert answer.status_code == status, answer.text
    assert said in answer.text
    assert len(store.jobs()) == before


def submitted(folder: Path, **change: Any) -> str:
    """Store a job without anybody who runs it."""
    app = create_app(Workspace.open(folder))
    with held(folder / "audiences" / "runner.lock", wait=True), TestClient(app) as client:
        answer = client.post("/v1/audiences", json={"seeds": SEEDS, "size": 5} | change)
        return answer.json()["audience_id"]


def test_errors_of_the_work_are_those_of_the_command(folder: Path, store: AudienceStore) -> None:
    workspace = Workspace.open(folder)
    wrong = [
        ({"size": 10_000}, "input_error", "10,000 people asked for"),
        ({"seeds": SEEDS[:9]}, "input_error", "needs at least 25"),
        ({"category": "categry"}, "input_error", "no column 'categry'"),
        ({"method": "coupang", "threshold": 0.99}, "input_error", "critical: no feature diverges"),
        ({"where": 'INCLUDE UserID WHERE Users.nope = "x"'}, "input_error", "no field 'nope'"),
    ]
    for change, code, said in wrong:
        job = work(workspace, store, submitted(folder, **change))
        assert job.status == "failed"
        assert job.problem is not None
        assert (job.problem.code, said in job.problem.message) == (code, True), job.problem
        assert work(workspace, store, job.audience_id) == job  # what has ended is not done again
        store.remove(job)
    workspace.close()


def test_beyond_memory_a_job_works_from_a_store(
    folder: Path, store: AudienceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace.open(folder)
    asked: dict[str, Any] = {"method": "trees", "where": 'INCLUDE UserID WHERE Users.country = "DE"'}
    plain = work(workspace, store, submitted(folder, **asked))
    monkeypatch.setattr("penchant.workspace.people.IN_MEMORY", 100)
    large = work(workspace, store, submitted(folder, **asked))
    assert large.files == plain.files
    assert list((folder / "cache" / "people").glob("people-*"))
    for name in ("audience.csv", "top_features.csv", "features.csv"):
        assert store.file(large, name).read_bytes() == store.file(plain, name).read_bytes()
    for job in (plain, large):
        store.remove(job)
    workspace.close()


def test_jobs_survive_a_killed_server_and_give_up_in_the_end(folder: Path, store: AudienceStore) -> None:
    lost, hopeless = submitted(folder), submitted(folder)
    # As a server that was killed in the middle of both leaves them.
    store.put(replace(store.job(lost), status="running", tries=1, progress=Step(what="learning")))
    store.put(replace(store.job(hopeless), status="running", tries=3))
    with TestClient(create_app(Workspace.open(folder))) as client:
        assert ended(client, lost)["status"] == "done"
        answer = ended(client, hopeless)
        assert answer["status"] == "failed"
        assert "3 processes ended" in answer["problem"]["message"]
        followed = client.post("/v1/audiences", json={"seeds": SEEDS, "size": 5, "previous": lost})
        answer = ended(client, followed.json()["audience_id"])
        assert answer["card"]["drift"]["stayed"] == 1.0
    assert store.job(lost).tries == 2
    for job in store.jobs():
        store.remove(job)


def test_a_process_that_never_begins_is_not_started_for_ever(folder: Path, store: AudienceStore) -> None:
    jobs, audience = AudienceJobs(store, SystemClock()), submitted(folder)
    for tries in (1, 2):
        jobs.ended_early(audience)
        assert (store.job(audience).status, store.job(audience).tries) == ("queued", tries)
    jobs.ended_early(audience)
    assert store.job(audience).status == "failed"
    jobs.ended_early(audience)  # what has ended stays as it is
    assert store.job(audience).tries == 3
    store.remove(store.job(audience))
    jobs.ended_early(audience)


def test_progress_is_written_while_it_works(folder: Path, store: AudienceStore) -> None:
    job = store.job(submitted(folder))
    told = Told(store, job)
    told.start("features", 300)
    assert store.job(job.audience_id).progress == Step(what="features", total=300)
    told.advance(200)  # within half a second: not written
    assert store.job(job.audience_id).progress == Step(what="features", total=300)
    told._said = 0.0
    told.advance(50)
    assert store.job(job.audience_id).progress == Step(what="features", done=250, total=300)
    store.remove(job)


def test_too_many_waiting_and_busy_ones_are_conflicts(
    folder: Path, store: AudienceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = submitted(folder)
    monkeypatch.setattr("penchant.http.audience_store._MOST_WAITING", 1)
    with (
        held(folder / "audiences" / "runner.lock", wait=True),
        TestClient(create_app(Workspace.open(folder))) as client,
    ):
        assert client.post("/v1/audiences", json={"seeds": SEEDS, "size": 5}).status_code == 409
        store.put(replace(store.job(waiting), status="running"))
        assert client.delete(f"/v1/audiences/{waiting}").status_code == 409
    store.put(replace(store.job(waiting), status="failed"))
    store.remove(store.job(waiting))


def test_only_one_holds_a_lock(tmp_path: Path) -> None:
    with held(tmp_path / "lock", wait=False) as first, held(tmp_path / "lock", wait=False) as second:
        assert (first, second) == (True, False)
    with held(tmp_path / "lock", wait=False) as third:
        assert third
