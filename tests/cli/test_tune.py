"""`penchant tune` on a small workspace."""

from pathlib import Path

import msgspec
import pytest

from penchant.cli.main import run
from penchant.kernel.errors import InputError, NotFound
from penchant.testing.data import item_id, random_snapshot, user_id
from penchant.workspace.service import Workspace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    snapshot = random_snapshot(1)
    rows = zip(
        *(getattr(snapshot.interactions, n).tolist() for n in ("user", "item", "timestamp")), strict=True
    )
    lines = ["user_id,item_id,timestamp", *(f"{user_id(u)},{item_id(i)},{t}" for u, i, t in rows)]
    (tmp_path / "events.csv").write_text("\n".join(lines))
    (tmp_path / "penchant.toml").write_text(
        '[recipes.like]\nrecipe = "item_knn"\nneighbours = 7\n[recipes.rising]\nrecipe = "trending"\n'
    )
    with_data = Workspace.open(tmp_path)
    with_data.import_files(interactions=[tmp_path / "events.csv"])
    with_data.close()
    return tmp_path


def test_tune_prints_settings_for_the_toml_and_repeats_itself(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*more: str) -> str:
        capsys.readouterr()
        assert run(["-C", str(folder), "tune", "like", "--trials", "4", *more]) == 0
        return capsys.readouterr().out

    words, trials = told(), told("--json")
    assert "Best on validation: " in words
    assert '[recipes.like]\nrecipe = "item_knn"' in words or "are the best" in words
    found = msgspec.json.decode(trials.encode())
    assert len(found) == 4
    assert any(trial["fields"]["neighbours"] == 7 for trial in found)  # as it is configured
    assert trials == told("--json")


def test_what_cannot_be_tuned_is_said(folder: Path) -> None:
    workspace = Workspace.open(folder)
    with pytest.raises(NotFound, match=r"no recipe 'lik'.*like"):
        workspace.tune("lik")
    with pytest.raises(InputError, match="nothing of a 'trending' can be tuned"):
        workspace.tune("rising")
    workspace.close()
