"""Everything that is public imports, is described, and is named where the docs list it."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import penchant

ROOT = Path(penchant.__file__).parent
DOCS = Path(__file__).parents[1] / "docs"
MODULES = sorted(
    module.name for module in pkgutil.walk_packages([str(ROOT)], "penchant.") if "._" not in module.name
)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_and_describes_what_it_gives(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, "no docstring"
    for exported in getattr(module, "__all__", ()):
        assert hasattr(module, exported), f"{exported} is in __all__ and nowhere else"
    for key, value in vars(module).items():
        own = getattr(value, "__module__", None) == name and (
            inspect.isclass(value) or inspect.isfunction(value)
        )
        if own and not key.startswith("_"):
            assert inspect.getdoc(value), f"{key} has no docstring"


def test_links_between_the_docs_lead_somewhere() -> None:
    for page in [*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
