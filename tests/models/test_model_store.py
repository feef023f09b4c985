"""Models on disk: what is refused and what it says, and what training cost."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from penchant.kernel.durations import seconds_of
from penchant.kernel.errors import InputError, NotFound
from penchant.kernel.parallel import spread
from penchant.kernel.progress import Silent
from penchant.models.measure import measured, train_measured
from penchant.models.popularity import Popularity, PopularityModel
from penchant.models.store import CARD_FILE, open_model, read_card, save_model
from penchant.testing.contracts import assert_same_arrays
from penchant.testing.data import popularity_ladder

KINDS = {"popularity": PopularityModel}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = train_measured(Popularity(), popularity_ladder(), seed=5, progress=Silent())
    save_model(model, tmp_path / "m")
    return tmp_path / "m"


def test_the_card_knows_seed_and_cost(folder: Path) -> None:
    card = read_card(folder).card
    assert card.seed == 5
    assert 0 < card.seconds < 60
    assert card.cpu_seconds > 0
    assert card.peak_mb > 10


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="penchant train"):
        open_model(tmp_path / "nothing", KINDS)


def test_an_unknown_kind_names_the_nearest(folder: Path) -> None:
    with pytest.raises(InputError, match="Did you mean 'popularities'"):
        open_model(folder, {"popularities": PopularityModel})


def test_another_format_is_refused(folder: Path) -> None:
    text = (folder / CARD_FILE).read_text()
    (folder / CARD_FILE).write_text(text.replace('"format": 1', '"format": 99'))
    with pytest.raises(InputError, match="format 99"):
        open_model(folder, KINDS)


@pytest.mark.parametrize("content", [b"", b"{", b'{"kind": 3}', b'{"kind":"popularity","card":{},"x":1}'])
def test_a_damaged_card_is_refused_with_its_path(folder: Path, content: bytes) -> None:
    (folder / CARD_FILE).write_bytes(content)
    with pytest.raises(InputError, match=r"card\.json"):
        open_model(folder, KINDS)


def test_a_missing_or_damaged_array_is_refused(folder: Path) -> None:
    (folder / "counts.npy").rename(folder / "c.txt")
    with pytest.raises(InputError, match="counts"):
        open_model(folder, KINDS)
    (folder / "counts.npy").write_bytes(b"\x93NUMPY rubbish")
    with pytest.raises(InputError, match=r"counts\.npy"):
        open_model(folder, KINDS)


def test_saving_over_a_model_keeps_it(folder: Path) -> None:
    opened = open_model(folder, KINDS)
    save_model(opened, folder)
    assert_same_arrays(opened.arrays(), open_model(folder, KINDS).arrays())
    assert sorted(p.name for p in folder.parent.iterdir()) == ["m"]


def test_the_card_file_is_for_people_too(folder: Path) -> None:
    text = (folder / CARD_FILE).read_text()
    assert msgspec.json.decode(text)["card"]["config"] == {"window": "30d", "event_types": []}
    assert len(text.splitlines()) > 10


def test_measuring_sees_memory_come_and_go() -> None:
    with measured() as large:
        block = np.ones(40_000_000 // 8)
        del block
    with measured() as small:
        pass
    assert large.peak_mb > small.peak_mb + 20


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("1h", 3600), ("1.5d", 129600), ("2w", 1209600)]
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_spread_keeps_order_and_raises(threads: int) -> None:
    assert spread(lambda a, b: (a, b), 10, chunk=4, threads=threads) == [(0, 4), (4, 8), (8, 10)]
    assert spread(lambda a, b: (a, b), 0, chunk=4, threads=threads) == []
    with pytest.raises(ZeroDivisionError):
        spread(lambda a, b: 1 // a, 10, chunk=4, threads=threads)
