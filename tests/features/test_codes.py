"""The code store: codes order like values, histograms are exact, pieces and refreshes equal a fresh build."""

from pathlib import Path

import numpy as np
import pytest

from penchant.features.codes import (
    CodeStore,
    code_features,
    encode,
    quantile_edges,
)
from penchant.features.codes_write import build_store, code_writer
from penchant.features.matrix import FeatureName, Features
from penchant.kernel.errors import NotFound
from penchant.kernel.ids import Vocab


def features_of(values: np.ndarray) -> Features:
    d, n = values.shape
    book = tuple(FeatureName(name=f"f{j}", symbol=f"f{j}") for j in range(d))
    return Features(users=Vocab.of([f"u{i:05d}" for i in range(n)]), book=book, values=values)


def random_values(seed: int, d: int = 9, n: int = 700) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(d, n)).astype(np.float32)
    values[1] = rng.integers(0, 4, n)  # few different values
    values[2] = np.nan
    values[3, rng.random(n) < 0.9] = np.nan
    return values


@pytest.mark.parametrize("bins", [4, 32, 256])
def test_codes_order_like_values_and_never_is_zero(bins: int) -> None:
    values = random_values(1)
    codes = encode(values, quantile_edges(values, bins))
    assert ((codes == 0) == np.isnan(values)).all()
    assert codes.max() <= bins - 1
    for column, coded in zip(values, codes, strict=True):
        order = np.argsort(column)
        known = coded[order][~np.isnan(column[order])]
        assert (np.diff(known.astype(int)) >= 0).all()


def test_few_values_each_keep_their_code_and_bins_are_even() -> None:
    values = random_values(2)
    codes = encode(values, quantile_edges(values, 32))
    assert len(np.unique(codes[1])) == 4
    assert np.bincount(codes[0], minlength=32)[1:].max() <= 2 * 700 / 31


def test_histograms_are_exact() -> None:
    store = code_features(features_of(random_values(3)))
    rows = np.array([5, 3, 600, 3], np.int32)
    counts = store.histogram(rows)
    for j in range(len(store.book)):
        assert counts[j].tolist() == np.bincount(store.codes[j][rows], minlength=32).tolist()
        assert store.counts[j].tolist() == np.bincount(store.codes[j], minlength=32).tolist()


def test_every_way_to_build_gives_the_same_store(tmp_path: Path) -> None:
    features = features_of(random_values(4))
    memory = code_features(features)
    columns = build_store(tmp_path / "a", features.book, 700, iter(features.values), source="x")
    with code_writer(tmp_path / "b", features.book, 700, memory.edges, source="x") as writer:
        for first in range(0, 700, 99):
            writer.write(first, features.values[:, first : first + 99])
    pieces = CodeStore.open(tmp_path / "b", source="x")
    for store in (columns, pieces, CodeStore.open(tmp_path / "a", source="x")):
        assert np.array_equal(store.codes, memory.codes)
        assert np.array_equal(store.counts, memory.counts)
        assert np.array_equal(store.edges, memory.edges)
        assert store.book == memory.book
    with pytest.raises(NotFound, match="other data"):
        CodeStore.open(tmp_path / "a", source="y")


def test_a_refresh_equals_encoding_again() -> None:
    values = random_values(5)
    store = code_features(features_of(values))
    changed, rows = values.copy(), np.array([3, 99, 500], np.int32)
    changed[:, rows] = random_values(6)[:, :3]
    fresh = store.refreshed(rows, changed[:, rows])
    assert np.array_equal(fresh.codes, encode(changed, store.edges))
    assert fresh.counts.sum(1).tolist() == [700] * 9
    assert all(
        np.bincount(c, minlength=32).tolist() == k.tolist()
        for c, k in zip(fresh.codes, fresh.counts, strict=True)
    )
