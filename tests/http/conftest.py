"""A trained workspace whose answers are known: users of one colour of a checkerboard like its items."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient

from penchant.data.events import Acted, AnyEvent, ItemPut
from penchant.http.app import create_app
from penchant.testing.data import item_id, user_id
from penchant.workspace.service import Workspace

N = 24
START = 1_700_000_000.0
SETTINGS = """
[recipes.for_you]
recipe = "ials"
factors = 8
epochs = 5

[recipes.trending]
recipe = "trending"

[recipes.popular]
recipe = "popularity"

[feeds.home]
blocks = [
  { source = "for_you", take = 3 },
  { source = "trending", take = 1 },
  { source = "popular", take = 1 },
]
rules = [{ rule = "seen" }]
fallback = "popular"

[feeds.only]
blocks = [{ source = "for_you", take = 1 }]
rules = [{ rule = "seen" }]
fallback = "popular"

[feeds.related]
blocks = [{ source = "similar:for_you", take = 1 }]
fallback = "popular"

[server]
max_body_kb = 64
max_batch = 50
max_exclude = 10
"""


def click(user: str, item: str, *, name: str, at: float = START) -> Acted:
    return Acted(event_id=name, timestamp=at, user_id=user, item_id=item)


def history() -> list[AnyEvent]:
    puts: list[AnyEvent] = [
        ItemPut(
            event_id=f"put{i}",
            timestamp=START,
            item_id=item_id(i),
            properties={"colour": ["even", "odd"][i % 2]},
        )
        for i in range(N)
    ]
    clicks = [
        click(user_id(u), item_id(i), name=f"c{u}-{i}", at=START + 100 * u + i)
        for u in range(N)
        for i in range(N)
        if u % 2 == i % 2 and (u + i) % 8
    ]
    return [*puts, *clicks]


def fill(folder: Path, settings: str = SETTINGS) -> Workspace:
    folder.mkdir(parents=True)
    (folder / "penchant.toml").write_text(settings)
    workspace = Workspace.open(folder)
    workspace.log.append(history())
    return workspace


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "ws"
    workspace = fill(folder)
    workspace.train()
    workspace.close()
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "ws"))


@pytest.fixture
def workspace(folder: Path) -> Iterator[Workspace]:
    opened = Workspace.open(folder)
    yield opened
    opened.close()


@pytest.fixture
def client(workspace: Workspace) -> Iterator[TestClient]:
    with TestClient(create_app(workspace)) as client:
        yield client


@pytest.fixture(scope="session")
def shared(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, Workspace]]:
    """One service for all tests that leave it as it was or write under names of their own."""
    workspace = Workspace.open(Path(shutil.copytree(trained, tmp_path_factory.mktemp("shared") / "ws")))
    with TestClient(create_app(workspace)) as client:
        yield client, workspace
    workspace.close()
