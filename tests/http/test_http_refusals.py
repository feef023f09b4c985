"""What the service refuses, and the one shape in which it says so."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar.testing import TestClient

from penchant.http.access import is_loopback, read_key
from penchant.http.app import create_app
from penchant.http.run import listen
from penchant.kernel.errors import Conflict, InputError
from penchant.workspace.service import Workspace
from penchant.workspace.settings import ServerSettings

EVENT = {"kind": "acted", "event_id": "e", "timestamp": 1.0, "user_id": "u", "item_id": "i"}


@pytest.fixture
def client(shared: tuple[TestClient, Workspace]) -> TestClient:
    return shared[0]


@pytest.fixture
def workspace(shared: tuple[TestClient, Workspace]) -> Workspace:
    return shared[1]


def error_of(answer: Any) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(body) == ["error"]
    assert list(body["error"]) == ["code", "message", "where", "fix"]
    assert body["error"]["message"]
    return body["error"]


@pytest.mark.parametrize(
    ("body", "message", "fix"),
    [
        ({"evnts": []}, "unknown field 'evnts'.", "Did you mean 'events'?"),
        (
            {"events": [{"kind": "acted", "user_id": "u"}]},
            "the field 'event_id' is missing.",
            "Needed: event_id, timestamp, user_id, item_id.",
        ),
        ({"events": [{"kind": "actd"}]}, "there is no such choice.", "Did you mean 'acted'?"),
    ],
)
def test_a_body_that_does_not_fit_is_told_what_would(
    client: TestClient, body: object, message: str, fix: str
) -> None:
    error = error_of(client.post("/v1/events", content=msgspec.json.encode(body)))
    assert (error["message"], error["fix"]) == (message, fix)


def test_the_wire_shape_of_an_error_is_pinned(client: TestClient) -> None:
    assert client.get("/v1/feeds/home/u?kk=1").content == (
        b'{"error":{"code":"input_error","message":"unknown query parameter.","where":"kk",'
        b'"fix":"Did you mean \'k\'?"}}'
    )


@pytest.mark.parametrize(
    ("path", "status", "code", "where"),
    [
        ("/v1/feeds/home/u?k=0", 400, "input_error", "k"),
        ("/v1/feeds/home/u?k=-1", 400, "input_error", "k"),
        ("/v1/feeds/home/u?k=1000000000", 400, "input_error", "k"),
        ("/v1/feeds/home/u?k=5000", 400, "input_error", None),
        ("/v1/feeds/home/u?k=abc", 400, "input_error", "k"),
        ("/v1/feeds/home/u?k=", 400, "input_error", "k"),
        ("/v1/feeds/home/u?explain=maybe", 400, "input_error", "explain"),
        ("/v1/feeds/home/u?explian=true", 400, "input_error", "explian"),
        ("/v1/feeds/home/u?" + "&".join(f"exclude={i}" for i in range(11)), 400, "input_error", "exclude"),
        ("/v1/feeds/home/%ff%fe", 400, "input_error", "user"),
        ("/v1/feeds/home/%ED%A0%80", 400, "input_error", "user"),
        ("/v1/feeds/home/" + "x" * 257, 400, "input_error", "user"),
        ("/v1/feeds/nothing/u", 404, "not_found", None),
        ("/v1/feeds/home", 404, "not_found", None),
        ("/v1/feeds/home/u/x", 404, "not_found", None),
        ("/v1/items/nothing", 404, "not_found", None),
        ("/v1/items/i000/similar?k=0", 400, "input_error", "k"),
        ("/nothing", 404, "not_found", None),
        ("/v2", 404, "not_found", None),
        ("/v1/rank", 405, "method_not_allowed", None),
    ],
)
def test_refused_reads(client: TestClient, path: str, status: int, code: str, where: str | None) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    error = error_of(answer)
    assert (error["code"], error["where"]) == (code, where)


def batch(**changes: object) -> bytes:
    return msgspec.json.encode({"events": [EVENT | changes]})


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "$"),
        (b"{", "$"),
        (b"null", "$"),
        (b"[]", "$"),
        (b"\xff\xfe", "$"),
        (b'{"events":' + b"[" * 20_000, "$.events[0]"),
        (b'{"events":[]}', "$.events"),
        (b'{"event":[]}', "$"),
        (b'{"events":[{}]}', "$.events[0]"),
        (batch(kind="acteed"), "$.events[0].kind"),
        (batch(user_id=7), "$.events[0].user_id"),
        (batch(user_id=""), "$.events[0].user_id"),
        (batch(item_id="x" * 257), "$.events[0].item_id"),
        (batch(event_id=""), "$.events[0].event_id"),
        (batch(timestamp="now"), "$.events[0].timestamp"),
        (batch(timestamp=1.7e12), "$.events[0].timestamp"),
        (batch(timestamp=-5.0), "$.events[0].timestamp"),
        (batch().replace(b"1.0", b"1e999"), "$.events[0].timestamp"),
        (batch().replace(b"1.0", b"NaN"), "$"),
        (batch(event_value=1e39), "$.events[0].event_value"),
        (batch().replace(b'"u"', b'"\\ud800"'), "$"),
        (batch(more=1), "$.events[0]"),
        (batch(properties={"a": {"b": 1}}), "$.events[0].properties[...]"),
        (msgspec.json.encode({"events": [EVENT] * 51}), "$.events"),
    ],
)
def test_refused_events_store_nothing(
    client: TestClient, workspace: Workspace, body: bytes, where: str
) -> None:
    head = workspace.log.head()
    answer = client.post("/v1/events", content=body)
    assert answer.status_code == 400, answer.text
    error = error_of(answer)
    assert error["where"] == where
    assert workspace.log.head() == head


def test_one_wrong_event_refuses_its_whole_batch(client: TestClient, workspace: Workspace) -> None:
    head = workspace.log.head()
    events = [EVENT | {"event_id": "good"}, EVENT | {"event_id": "late", "timestamp": 9e12}]
    assert error_of(client.post("/v1/events", json={"events": events}))["where"] == "$.events[1].timestamp"
    assert workspace.log.head() == head


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/users/u", {"properties": [1]}),
        ("/v1/users/u", {"property": {}}),
        ("/v1/users", {"users": [{"user_id": ""}]}),
        ("/v1/items", {"items": [{"item_id": "x" * 257}]}),
        ("/v1/items", {"items": [{"item_id": str(i)} for i in range(51)]}),
        ("/v1/items/" + "x" * 257, {"properties": {}}),
    ],
)
def test_refused_puts(client: TestClient, path: str, body: object) -> None:
    answer = client.put(path, json=body)
    assert answer.status_code == 400
    error_of(answer)


def test_a_body_above_the_limit_is_refused(client: TestClient) -> None:
    answer = client.post("/v1/events", content=b" " * 70_000)
    assert answer.status_code == 413
    assert error_of(answer)["code"] == "too_large"

    def endless() -> Iterator[bytes]:
        for _ in range(70):
            yield b" " * 1000

    assert client.post("/v1/events", content=endless()).status_code == 413


def test_what_fails_inside_is_said_in_general_words_only(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from penchant.workspace.serving import Serving

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the secret of the house")

    monkeypatch.setattr(Serving, "feed", broken)
    with caplog.at_level(logging.ERROR, "penchant.http"):
        answer = client.get("/v1/feeds/home/u000")
    assert answer.status_code == 500
    assert error_of(answer)["code"] == "defect"
    assert "secret" not in answer.text
    assert "secret" in caplog.text, "the operator does see it"
    assert "u000" not in caplog.records[0].getMessage()


@pytest.fixture
def guarded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    settings = folder / "penchant.toml"
    settings.write_text(settings.read_text() + 'api_key_env = "PENCHANT_TEST_KEY"\n')
    monkeypatch.setenv("PENCHANT_TEST_KEY", "s3cret-ключ")
    workspace = Workspace.open(folder)
    with TestClient(create_app(workspace)) as client:
        yield client
    workspace.close()


@pytest.mark.parametrize("path", ["/v1/feeds/home/u", "/metrics", "/openapi.json", "/nothing", "/v1/Ready"])
def test_without_the_key_nothing_is_told(guarded: TestClient, path: str) -> None:
    for headers in ({}, {"X-API-Key": ""}, {"X-API-Key": "s3cret"}, {"X-API-Key": "S3CRET-ключ".encode()}):
        answer = guarded.get(path, headers=headers)
        assert answer.status_code == 401
        assert error_of(answer)["code"] == "unauthorized"


def test_with_the_key_all_is_open(guarded: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = guarded.get("/v1/feeds/home/u", headers={"X-API-Key": "s3cret-ключ".encode()})
        assert answer.status_code == 200
        wrong = guarded.get("/v1/feeds/home/u", headers={"X-API-Key": "a-wrong-key"})
    assert "s3cret" not in caplog.text + wrong.text
    assert "a-wrong-key" not in caplog.text + wrong.text
    assert guarded.get("/v1/health").status_code == 200
    assert guarded.get("/v1/ready").status_code == 200


def test_a_key_that_is_named_and_missing_stops_the_service(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="PENCHANT_NO_SUCH_KEY"):
        read_key(ServerSettings(api_key_env="PENCHANT_NO_SUCH_KEY"), tmp_path)
    with pytest.raises(InputError, match=r"key\.txt"):
        read_key(ServerSettings(api_key_file="key.txt"), tmp_path)
    (tmp_path / "key.txt").write_text(" \n")
    with pytest.raises(InputError, match="empty"):
        read_key(ServerSettings(api_key_file="key.txt"), tmp_path)
    (tmp_path / "key.txt").write_text("abc\n")
    assert read_key(ServerSettings(api_key_file="key.txt"), tmp_path) == "abc"
    with pytest.raises(InputError, match="both"):
        read_key(ServerSettings(api_key_file="key.txt", api_key_env="X"), tmp_path)
    assert read_key(ServerSettings(), tmp_path) is None


def test_only_the_loopback_is_listened_on_without_a_key() -> None:
    for host in ("0.0.0.0", "::"):
        with pytest.raises(InputError, match="API key"):
            listen(host, 0, with_key=False)
    listen("0.0.0.0", 0, with_key=True).close()
    listen("localhost", 0, with_key=False).close()
    assert is_loopback("127.8.9.1")
    assert is_loopback("::1")
    assert not is_loopback("10.0.0.1")
    assert not is_loopback("not an address")


def test_a_taken_port_is_a_conflict_that_names_another() -> None:
    with listen("127.0.0.1", 0, with_key=False) as first:
        port = first.getsockname()[1]
        with pytest.raises(Conflict, match=f"port {port} is taken.*--port"):
            listen("127.0.0.1", port, with_key=False)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "256.1.1.1", "203.0.113.7"])
def test_an_address_that_is_not_here_is_refused(host: str) -> None:
    with pytest.raises(InputError):
        listen(host, 0, with_key=True)
