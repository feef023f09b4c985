"""What the service answers, over a real workspace."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from litestar.testing import TestClient

from penchant.data.events import Acted, ItemPut, Served, UserPut
from penchant.http.app import create_app
from penchant.workspace.service import Workspace

WITHIN_SECONDS = 1.0


def items(client: TestClient, path: str) -> list[str]:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def post(client: TestClient, *events: dict[str, Any]) -> dict[str, int]:
    answer = client.post("/v1/events", json={"events": list(events)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def click(user: str, item: str, name: str) -> dict[str, Any]:
    return {"kind": "acted", "event_id": name, "timestamp": time.time(), "user_id": user, "item_id": item}


def soon(true: Callable[[], bool], seconds: float = WITHIN_SECONDS) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.02)
    return true()


def test_a_feed_holds_k_different_items_and_is_logged_as_served(workspace: Workspace) -> None:
    with TestClient(create_app(workspace)) as client:
        answer = client.get("/v1/feeds/home/u000?k=7").json()
    given = [item["item_id"] for item in answer["items"]]
    assert len(set(given)) == 7
    assert set(answer) == {"request_id", "feed", "user_id", "model_version", "items"}
    assert {item["source"] for item in answer["items"]} <= {"for_you", "trending", "popular"}
    # The app has ended, so all it served is in the log.
    served = [e for _, e in workspace.log.tail(0, 10_000) if isinstance(e, Served)]
    assert [e.event_id for e in served] == [answer["request_id"]]
    assert [slot.item_id for slot in served[0].slots] == given
    assert served[0].user_id == "u000"


def test_a_user_gets_unseen_items_of_the_own_colour_first(client: TestClient) -> None:
    # u000 has not seen i000, i008 and i016 of the even ones.
    assert set(items(client, "/v1/feeds/only/u000?k=3")) == {"i000", "i008", "i016"}


def test_explain_says_why_and_what_each_stage_did(client: TestClient) -> None:
    answer = client.get("/v1/feeds/home/u000?k=5&explain=true").json()
    stages = {step["stage"] for step in answer["trace"]}
    assert {"source for_you", "rule seen"} <= stages
    assert any(step["dropped"] for step in answer["trace"])


def test_somebody_nobody_knows_is_answered(client: TestClient) -> None:
    assert len(items(client, "/v1/feeds/home/nobody?k=5")) == 5


def test_an_acknowledged_event_changes_the_next_feed_of_a_new_user(client: TestClient) -> None:
    first = post(client, click("newcomer", "i001", "n1"), click("newcomer", "i003", "n2"))
    assert first["acknowledged"] == 2
    after = items(client, "/v1/feeds/only/newcomer?k=5")
    assert {int(item[1:]) % 2 for item in after} == {1}, "items of the colour that was clicked"
    assert not {"i001", "i003"} & set(after), "what was acted on is seen"


def test_an_event_changes_the_feeds_of_another_worker_within_a_second(folder: Path) -> None:
    one, other = Workspace.open(folder), Workspace.open(folder)
    with TestClient(create_app(one)) as here, TestClient(create_app(other)) as there:
        seen = items(there, "/v1/feeds/only/u000?k=1")[0]
        post(here, click("u000", seen, "x1"))
        assert seen not in items(here, "/v1/feeds/only/u000?k=3")
        assert soon(lambda: seen not in items(there, "/v1/feeds/only/u000?k=3"))
    one.close()
    other.close()


def test_an_event_is_on_disk_when_it_is_acknowledged(client: TestClient, folder: Path) -> None:
    head = post(client, click("u000", "i001", "durable"))["head"]
    second = Workspace.open(folder)
    assert second.log.head() >= head
    assert "durable" in {e.event_id for _, e in second.log.tail(0, 10_000) if isinstance(e, Acted)}
    second.close()


def test_an_event_sent_again_is_acknowledged_and_not_stored_again(client: TestClient) -> None:
    event = click("u000", "i001", "twice")
    first = post(client, event)
    assert post(client, event, event)["head"] == first["head"]


def test_items_about_an_item_and_without_items(client: TestClient) -> None:
    related = items(client, "/v1/feeds/related/u000?item=i002&k=5")
    assert related
    assert "i002" not in related
    fewer = items(client, f"/v1/feeds/related/u000?item=i002&k=5&exclude={related[0]}&exclude={related[1]}")
    assert not set(related[:2]) & set(fewer)
    assert client.get("/v1/feeds/related/u000?item=nothing").status_code == 404


def test_similar_items(client: TestClient) -> None:
    answer = client.get("/v1/items/i002/similar?k=4").json()
    assert answer["item_id"] == "i002"
    scores = [item["score"] for item in answer["items"]]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    assert {int(item["item_id"][1:]) % 2 for item in answer["items"]} == {0}
    assert client.get("/v1/items/nothing/similar").status_code == 404


def test_ranking_puts_unknown_items_last_without_a_score(client: TestClient) -> None:
    asked = ["i001", "nothing", "i000", "i003"]
    answer = client.post("/v1/rank", json={"user_id": "u000", "item_ids": asked}).json()
    ranked = [item["item_id"] for item in answer["items"]]
    assert sorted(ranked) == sorted(asked)
    assert ranked[0] == "i000"
    assert answer["items"][-1] == {"item_id": "nothing", "score": None}


def test_put_replaces_all_properties(client: TestClient, workspace: Workspace) -> None:
    assert client.put("/v1/items/i005", json={"properties": {"title": "x", "n": 3, "tags": ["a"]}}).is_success
    assert client.get("/v1/items/i005").json()["properties"] == {"title": "x", "n": 3, "tags": ["a"]}
    assert client.put("/v1/items", json={"items": [{"item_id": "i005"}, {"item_id": "new"}]}).is_success
    assert client.get("/v1/items/i005").json()["properties"] == {}
    assert client.get("/v1/items/new").json() == {"item_id": "new", "properties": {}}
    batch = {"users": [{"user_id": "a", "properties": {"age": 1}}, {"user_id": "b"}]}
    assert client.put("/v1/users", json=batch).json()["acknowledged"] == 2
    assert client.put("/v1/users/c", json={}).is_success
    put = [e for _, e in workspace.log.tail(0, 10_000) if isinstance(e, UserPut)]
    assert [(e.user_id, e.properties) for e in put] == [("a", {"age": 1}), ("b", {}), ("c", {})]


@pytest.mark.parametrize(
    "id_",
    ["a/b", "a b", "50%", "ünïcødé", "日本語", "🦆" * 256, "nul\0byte", "a?b#c&d", "..", " ", "similar"],
)
def test_any_id_survives_the_path_and_back(shared: tuple[TestClient, Workspace], id_: str) -> None:
    client, workspace = shared
    encoded = quote(id_, safe="").replace(".", "%2E")
    assert client.put(f"/v1/items/{encoded}", json={"properties": {"x": id_}}).is_success
    assert client.get(f"/v1/items/{encoded}").json() == {"item_id": id_, "properties": {"x": id_}}
    post(client, click(id_, id_, f"e{id_}"[:256]))
    assert client.get(f"/v1/feeds/home/{encoded}?k=2").json()["user_id"] == id_
    assert id_ in {e.item_id for _, e in workspace.log.tail(0, 10_000) if isinstance(e, ItemPut)}


def test_health_and_readiness(client: TestClient) -> None:
    assert client.get("/v1/health").json() == {"status": "ok", "waiting": 0}
    ready = client.get("/v1/ready").json()
    assert ready["status"] == "ready"
    assert ready["model_version"] == client.get("/v1/feeds/home/u000?k=1").json()["model_version"]


def test_metrics_count_what_happened(client: TestClient) -> None:
    for _ in range(3):
        client.get("/v1/feeds/home/u000?k=1")
    client.get("/v1/feeds/nothing/u000")
    post(client, click("u000", "i001", "m1"))
    text = client.get("/metrics").text
    feed = 'method="GET",route="/v1/feeds/{feed}/{user}"'
    assert f'penchant_request_seconds_count{{{feed},status="200"}} 3.0' in text
    assert f'penchant_request_seconds_count{{{feed},status="404"}} 1.0' in text
    assert 'penchant_feed_stages_total{feed="home",stage="source for_you"} 3.0' in text
    assert 'penchant_events_total{kind="acted"} 1.0' in text
    assert "u000" not in text


def test_events_are_taken_before_the_first_training_and_feeds_after_it(tmp_path: Path) -> None:
    from conftest import fill

    workspace = fill(tmp_path / "ws")
    with TestClient(create_app(workspace)) as client:
        assert client.get("/v1/health").is_success
        assert client.get("/v1/ready").status_code == 503
        assert client.get("/v1/feeds/home/u000").json()["error"]["code"] == "not_ready"
        post(client, click("u000", "i001", "early"))
        workspace.train(["popular", "trending", "for_you"])
        assert soon(lambda: client.get("/v1/ready").status_code == 200, 5.0)
        assert len(items(client, "/v1/feeds/home/u000?k=5")) == 5
    workspace.close()
