"""What settings add to a snapshot reaches models, feeds and filters."""

from pathlib import Path

import numpy as np
import pytest

from penchant.kernel.errors import InputError
from penchant.workspace.filters import FilterAsked
from penchant.workspace.registry import Registry
from penchant.workspace.service import Workspace
from penchant.workspace.settings import Settings

KINDS = ["oak table chair desk", "rose tulip seed pot"]
N, NEW = 80, 4

SETTINGS = """
[text]
columns = ["title"]

[graph]
columns = ["community", "followers"]

[recipes.for_you]
recipe = "ials"
factors = 8
epochs = 6

[recipes.alike]
recipe = "lookalike"
factors = 8
epochs = 4
columns = [{ column = "community", how = "levels" }]

[feeds.home]
blocks = [{ source = "for_you", take = 1 }]
rules = [{ rule = "seen" }]
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a trained workspace of two kinds of items and of users who follow their own kind."""
    folder = tmp_path_factory.mktemp("told")
    drawn = np.random.default_rng(0)
    titles = [" ".join(drawn.choice(KINDS[i % 2].split(), 2, replace=False)) for i in range(N)]
    items = ["item_id,title", *(f"i{i:02d},{title}" for i, title in enumerate(titles))]
    acts = [
        f"u{u:02d},i{i:02d},{1_000_000 + 100 * u + j}"
        for u in range(40)
        for j, i in enumerate(drawn.choice(N - NEW, 30, replace=False).tolist())
        if i % 2 == u % 2
    ]
    follows = [f"u{a:02d},u{b:02d},1000" for a in range(40) for b in range(40) if a != b and a % 2 == b % 2]
    for name, lines in (
        ("items", items),
        ("interactions", ["user_id,item_id,timestamp", *acts]),
        ("follows", ["user_id,followed_id,timestamp", *follows]),
    ):
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    (folder / "penchant.toml").write_text(SETTINGS)
    workspace = Workspace.open(folder)
    workspace.import_files(
        items=[folder / "items.csv"],
        interactions=[folder / "interactions.csv"],
        follows=[folder / "follows.csv"],
    )
    workspace.train()
    workspace.close()
    return folder


def test_new_items_are_known_by_their_text(shop: Path) -> None:
    registry = Registry(shop)
    model = registry.open("for_you", registry.current().models["for_you"])
    assert model.card.notes == [
        "4 items had no interactions; 4 of them have a factor by ridge from title and the text."
    ]
    workspace = Workspace.open(shop)
    serving = workspace.serving()
    try:
        ranked = serving.rank("u01", [f"i{i:02d}" for i in range(N - NEW, N)])
        assert [int(item[1:]) % 2 for item, _ in ranked] == [1, 1, 0, 0]
    finally:
        serving.close()
        workspace.close()


def test_filters_know_the_community(shop: Path) -> None:
    workspace = Workspace.open(shop)
    serving = workspace.serving()
    try:
        expression = 'EXCLUDE ItemID WHERE NOT Items.TITLE IN ("x") IF CurrentUser.COMMUNITY = "c0"'
        asked = [FilterAsked(name="mine", expression=expression, parameters={})]
        left = {user: serving.passing(user, ["i00", "i01"], asked) for user in ("u00", "u01")}
        assert sorted(left.values()) == [[], ["i00", "i01"]]
    finally:
        serving.close()
        workspace.close()


def test_evaluation_tells_its_training_part(shop: Path) -> None:
    """The recipe names a column that only ``[graph]`` makes: without it, evaluation would fail."""
    workspace = Workspace.open(shop)
    try:
        assert "alike" in {entry.name for entry in workspace.evaluate("time").entries}
    finally:
        workspace.close()


def test_a_text_column_that_is_not_there_is_named(shop: Path) -> None:
    workspace = Workspace.open(shop)
    wrong = Settings.of_toml(SETTINGS.replace('columns = ["title"]', 'columns = ["titel"]'))
    workspace.settings = wrong
    try:
        with pytest.raises(InputError, match=r"\[text\] columns: items have no column 'titel'.*title"):
            workspace.train()
    finally:
        workspace.close()
