"""Imports go downward only: the floors of docs/ARCHITECTURE.md, read from the code itself."""

import ast
import re
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "penchant"
FLOORS = {
    "kernel": 0,
    "data": 1,
    "features": 2,
    "models": 3,
    "bandits": 3,
    "audiences": 4,
    "personas": 4,
    "feed": 4,
    "evaluation": 4,
    "simulation": 4,
    "workspace": 5,
    "reports": 6,
    "http": 7,
    "cli": 8,
}
FILES = sorted(SRC.rglob("*.py"))


def package(path: Path) -> str:
    return path.relative_to(SRC).parts[0]


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return {name.split(".")[1] for name in names if name.startswith("penchant.")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_imports_go_down(path: Path) -> None:
    own = package(path)
    if own in ("testing", "__init__.py"):
        return
    for other in imports(path):
        assert other != "testing", f"{path}: product code imports the tests' helpers"
        assert other == own or FLOORS[other] < FLOORS[own], f"{path}: {own} must not import {other}"


def test_the_architecture_page_draws_these_floors() -> None:
    page = (SRC.parents[1] / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    drawn = {
        name: int(floor)
        for floor, rest in re.findall(r"^ (\d)  (.*)$", page, re.MULTILINE)
        for name in (rest.split() if floor in "34" else rest.split()[:1])  # 3 and 4 have names alone
    }
    assert drawn == FLOORS
    assert set(FLOORS) == {path.parent.name for path in SRC.glob("*/__init__.py")} - {"testing"}


def test_no_cycles_between_modules() -> None:
    modules = {".".join(("penchant", *p.relative_to(SRC).with_suffix("").parts)): p for p in FILES}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        targets: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                targets.add(node.module)
                targets.update(f"{node.module}.{alias.name}" for alias in node.names)
        graph[name] = {t for t in targets if t in modules and t != name}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, "import cycle: " + " -> ".join((*trail, name))
        if name not in done:
            for target in graph[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_every_package_has_a_floor() -> None:
    packages = {p.name for p in SRC.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    assert packages == set(FLOORS) | {"testing"}
