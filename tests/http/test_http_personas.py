"""Personas over HTTP, and people who came a moment ago: what those like them want, at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient

from penchant.cli.main import run
from penchant.data.events import Acted, AnyEvent, Served, UserPut
from penchant.http.app import create_app
from penchant.models.lookalike_model import LookalikeModel
from penchant.workspace.personas import FOLDER, served_losses
from penchant.workspace.service import Workspace

DAY = 86_400.0
START = 1_700_000_000.0
SETTINGS = """
[recipes.alike]
recipe = "lookalike"
clusters = 2
rank = 2
factors = 4
epochs = 4
half_lives = [""]
[recipes.popular]
recipe = "popularity"
window = "365d"
[feeds.home]
blocks = [{ source = "alike", take = 1 }]
fallback = "popular"
[feeds.kinds]
blocks = [{ source = "categories", take = 1 }]
fallback = "popular"
"""
COLOURS = ("red", "blue")


def people() -> list[AnyEvent]:
    """Sixty users of two colours; each takes ten items of the colour, some of what all take."""
    events: list[AnyEvent] = []
    for u in range(60):
        colour = COLOURS[u % 2]
        events.append(
            UserPut(event_id=f"p{u}", timestamp=START, user_id=f"u{u:02}", properties={"colour": colour})
        )
        for day in range(10):
            item = f"{colour}-{(u // 2 + day) % 10}" if day % 4 else f"any-{(u + day) % 5}"
            events.append(
                Acted(
                    event_id=f"a{u}-{day}", timestamp=START + day * DAY + u, user_id=f"u{u:02}", item_id=item
                )
            )
    return events


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, Workspace]]:
    folder = tmp_path_factory.mktemp("shop") / "ws"
    folder.mkdir()
    (folder / "penchant.toml").write_text(SETTINGS)
    workspace = Workspace.open(folder)
    workspace.log.append(people())
    workspace.train()
    with TestClient(create_app(workspace)) as client:
        yield client, workspace
    workspace.close()


def colour_of(answer: dict) -> str | None:
    """Return the colour that all items are of, beside what everybody takes."""
    found = {one["item_id"].split("-")[0] for one in answer["items"]} - {"any"}
    return found.pop() if len(found) == 1 else None


@pytest.mark.parametrize("colour", COLOURS)
def test_a_user_put_a_moment_ago_gets_what_people_like_them_want(
    shop: tuple[TestClient, Workspace], colour: str
) -> None:
    client, _ = shop
    name = f"new {colour}"
    stranger = client.get(f"/v1/feeds/home/{name}?k=8").json()
    assert {one["source"] for one in stranger["items"]} == {"fallback"}
    put = client.put(f"/v1/users/{name}", json={"properties": {"colour": colour}})
    assert put.status_code == 200
    placed = client.get(f"/v1/feeds/home/{name}?k=8").json()
    assert {one["source"] for one in placed["items"]} == {"alike"}
    assert colour_of(placed) == colour
    other = COLOURS[1 - COLOURS.index(colour)]
    client.put(f"/v1/users/{name}", json={"properties": {"colour": other}})
    assert colour_of(client.get(f"/v1/feeds/home/{name}?k=8").json()) == other
    client.put(f"/v1/users/{name}", json={"properties": {"mood": "good"}})  # nothing that the model knows
    unknown = client.get(f"/v1/feeds/home/{name}?k=8").json()
    assert {one["source"] for one in unknown["items"]} == {"fallback"}


def test_a_persona_has_a_feed_that_caches_may_keep(shop: tuple[TestClient, Workspace]) -> None:
    client, workspace = shop
    found = client.get("/v1/personas").json()
    assert found["model"] == "alike"
    assert [one["users"] for one in found["personas"]] == [30, 30]
    assert found["loss_new"] is not None
    assert found["loss_known"] is not None
    served = workspace.log.head()
    colours: set[str | None] = set()
    for one in found["personas"]:
        path = f"/v1/personas/{one['id']}/feed?k=8"
        answer = client.get(path)
        colours.add(colour_of(answer.json()))
        assert answer.headers["cache-control"] == "public, max-age=300"
        tag = answer.headers["etag"]
        again = client.get(path, headers={"If-None-Match": f'"other", W/{tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert client.get(path, headers={"If-None-Match": '"other"'}).json() == answer.json()
        assert client.get(f"/v1/personas/{one['id']}/feed?k=7").headers["etag"] != tag
    assert colours == set(COLOURS)
    since = [event for _, event in workspace.log.tail(served, 100) if isinstance(event, Served)]
    # Nobody in particular was served; feeds of tests before may still be on their way into the log.
    assert [event for event in since if not event.user_id.startswith("new ")] == []


def test_what_is_no_persona_is_not_found(shop: tuple[TestClient, Workspace], client: TestClient) -> None:
    ours, _ = shop
    for path in ("/v1/personas/7/feed", "/v1/personas/red/feed", "/v1/personas?model=popular"):
        assert ours.get(path).status_code == 404, path
    assert ours.get("/v1/personas/0/feed?k=100000").status_code == 400
    assert ours.get("/v1/personas/0/feed?kk=1").status_code == 400
    assert client.get("/v1/personas").status_code == 404  # a workspace without the recipe


def test_ids_last_when_trained_anew(tmp_path: Path) -> None:
    (tmp_path / "penchant.toml").write_text(SETTINGS)
    workspace = Workspace.open(tmp_path)
    workspace.log.append(people())
    workspace.train()

    def colours() -> dict[int, str]:
        serving = workspace.serving()
        name, personas, _ = serving.personas()
        found = {
            one.id: [id_.split("-")[0] for id_, _ in serving.persona_feed(one.id, 8, model=name).items]
            for one in personas
        }
        serving.close()
        return {persona: max(COLOURS, key=kinds.count) for persona, kinds in found.items()}

    before = colours()
    assert set(before.values()) == set(COLOURS)
    smaller = before[1]  # clusters are numbered by size: make the smaller one the larger
    workspace.log.append(
        [
            UserPut(event_id=f"q{n}", timestamp=START, user_id=f"w{n}", properties={"colour": smaller})
            for n in range(25)
        ]
    )
    workspace.train()
    assert (tmp_path / FOLDER / "alike.json").is_file()
    assert colours() == before
    workspace.close()


def test_a_personas_feed_follows_its_pivot(tmp_path: Path) -> None:
    pivots = 'clusters = 2\nplace = "cluster"\nspeaks = "pivot"\n'
    (tmp_path / "penchant.toml").write_text(SETTINGS.replace("clusters = 2\n", pivots))
    workspace = Workspace.open(tmp_path)
    workspace.log.append(people())
    workspace.train()
    serving = workspace.serving()
    model = workspace.registry.open("alike", workspace.registry.current().models["alike"])
    assert isinstance(model, LookalikeModel)
    assert model.pivots is not None
    users = model.users.ids(model.pivots.users)
    persona = int(model.personas[model.pivots.users[0]])
    before = serving.persona_feed(0, 12), serving.persona_feed(1, 12)
    assert serving.persona_feed(persona, 12).tag == before[persona].tag
    taken = {f"any-{n}" for n in range(5)} | {id_ for id_, _ in before[1 - persona].items}
    serving.record(
        [
            Acted(event_id=f"n{i}", timestamp=START + 20 * DAY + i, user_id=users[0], item_id=item)
            for i, item in enumerate(sorted(taken))
        ]
    )
    serving.refresh()
    after = serving.persona_feed(persona, 12)
    assert after.items != before[persona].items
    assert after.tag != before[persona].tag
    assert serving.persona_feed(1 - persona, 12) == before[1 - persona]
    again = workspace.serving()  # another process, from the log alone
    assert again.persona_feed(persona, 12) == after
    again.close()
    serving.close()
    workspace.close()


def test_the_command_tells_what_a_personas_feed_loses(
    shop: tuple[TestClient, Workspace], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, workspace = shop
    assert run(["-C", str(workspace.folder), "personas", "--k", "2", "--out", str(tmp_path)]) == 0
    lost = served_losses(workspace.registry)["alike"]
    told = " ".join(capsys.readouterr().out.split())
    assert f"by {round(-lost['new'], 4) + 0.0:+.4f} for people without a history" in told
