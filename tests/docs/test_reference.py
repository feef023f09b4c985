"""The reference pages are what the code says now."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["cli.md", "config.md", "http.md"])
def test_the_page_is_not_stale(name: str, generate: ModuleType) -> None:
    written = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert written == generate.pages()[name], f"docs/reference/{name} is older than the code: run `make docs`"


def test_every_page_is_checked(generate: ModuleType) -> None:
    assert {path.name for path in (DOCS / "reference").iterdir()} == set(generate.pages())
