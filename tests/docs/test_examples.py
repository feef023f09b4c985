"""Every piece of penchant.toml in the pages is accepted as it stands, beside those of a new workspace."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from penchant.workspace.settings import Settings
from penchant.workspace.template import TEMPLATE
from penchant.workspace.toml import to_toml

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = [
    (page.name, text)
    for page in sorted(DOCS.glob("*.md"))
    for text in re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
]


def merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of both; a recipe or a feed that the example writes whole is the example's."""
    out = dict(base)
    for key, value in more.items():
        part = isinstance(value, dict) and isinstance(base.get(key), dict)
        whole = isinstance(value, dict) and ("recipe" in value or "blocks" in value)
        out[key] = merged(base[key], value) if part and not whole else value
    return out


@pytest.mark.parametrize(
    ("page", "text"), EXAMPLES, ids=[f"{page}-{i}" for i, (page, _) in enumerate(EXAMPLES)]
)
def test_the_example_is_accepted(page: str, text: str) -> None:
    known = tomllib.loads(TEMPLATE)
    example = tomllib.loads(text)
    Settings.of_toml(to_toml(merged(known, example)), where=page)


def test_pages_have_examples() -> None:
    assert {page for page, _ in EXAMPLES} >= {
        "feeds.md",
        "recipes.md",
        "sessions.md",
        "actions.md",
        "personalize.md",
    }
