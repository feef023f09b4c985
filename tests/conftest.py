"""What all tests share: steady property tests and the place of the real data."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("steady", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real data sets, or skip: none of them is part of the project."""
    folder = Path(os.environ.get("PENCHANT_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set PENCHANT_DATA to its folder")
    return folder
