"""The measure of segments, against counts made by hand."""

import numpy as np
import pyarrow as pa
import pytest

from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.evaluation.segments import segment_quality
from penchant.models.ials import Ials


def two_camps(*, repeats: bool, seed: int = 3) -> Snapshot:
    """Even users take even items. With ``repeats`` each has two that it takes again and again."""
    rng = np.random.default_rng(seed)
    users, items = [], []
    for _ in range(4000):
        u = int(rng.integers(60))
        favourites = [u % 2 + 2 * ((u * 7) % 20), u % 2 + 2 * ((u * 3) % 20)]
        i = favourites[rng.integers(2)] if repeats else int(rng.integers(20)) * 2 + u % 2
        users.append(f"u{u:02d}")
        items.append(f"i{i:02d}")
    return build_snapshot(
        pa.table({"user_id": users, "item_id": items, "timestamp": np.arange(4000, dtype=float)})
    )


def test_segments_beat_the_most_active_where_taste_decides() -> None:
    found = segment_quality(two_camps(repeats=False), Ials(factors=4, epochs=6), share=0.5)
    assert found.size == 30
    assert found.affinity.recall > 0.95 > found.most_active.recall  # half of the users are of one camp
    assert found.affinity.hits >= found.most_active.hits
    assert 0 < found.affinity.hit_rate <= 1


def test_segments_know_who_comes_back() -> None:
    found = segment_quality(two_camps(repeats=True), Ials(factors=2, epochs=6), share=0.1)
    assert found.took_before is not None
    assert found.affinity.recall >= found.took_before.recall - 0.01
    assert found.affinity.recall > 2 * found.most_active.recall
    keys = set(found.amazon())
    assert {"hits_at_1_percent", "recall_at_1_percent"} <= keys


def test_only_new_takers_leaves_out_who_took_before() -> None:
    found = segment_quality(two_camps(repeats=False), Ials(factors=4, epochs=6), share=0.2, new_only=True)
    assert found.took_before is None
    assert found.affinity.recall == pytest.approx(1.0)  # few are left who have not taken an item of theirs
