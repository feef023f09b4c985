"""Versions of an array: each stays as it was, whatever later ones do."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from penchant.kernel.growing import Growing

steps = st.lists(
    st.tuples(
        st.sampled_from(["extend", "replace"]), st.integers(0, 30), st.lists(st.integers(), max_size=40)
    ),
    max_size=12,
)


@given(st.lists(st.integers(0, 9), max_size=5), steps)
def test_versions_never_change_each_other(first: list[int], made: list[tuple[str, int, list[int]]]) -> None:
    """``at`` chooses the version to go on from, so that two may grow from one."""
    versions = [(Growing.of(np.array(first, np.int64)), list(first))]
    for step, at, values in made:
        given_, model = versions[at % len(versions)]
        values = [value % 1000 for value in values]
        if step == "extend":
            versions.append((given_.extended(np.array(values, np.int64)), model + values))
        elif model:
            rows = {place % len(model): value for place, value in enumerate(values, at)}
            changed = [rows.get(i, old) for i, old in enumerate(model)]
            where, what = np.array([*rows], np.int64), np.array([*rows.values()], np.int64)
            versions.append((given_.replaced(where, what), changed))
    for version, model in versions:
        assert version.array.tolist() == model
        assert not version.array.flags.writeable


def test_growing_shares_and_changing_copies() -> None:
    one = Growing.of(np.arange(10))
    two = one.extended(np.arange(3))
    three = two.extended(np.arange(3))
    assert np.shares_memory(two.array, three.array)
    assert not np.shares_memory(one.array, two.array), "what was given is not written to"
    assert not np.shares_memory(three.array, three.replaced(np.array([0]), np.array([7])).array)
