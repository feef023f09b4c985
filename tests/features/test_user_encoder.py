"""One user at a time is encoded as the whole table was."""

import numpy as np
import pyarrow as pa
import pytest

from penchant.features.user_encoder import UserEncoder
from penchant.features.user_features import UserColumn, encode_users, guess_columns
from penchant.kernel.arrow import ArrowTable


def people(n: int = 200) -> ArrowTable:
    rng = np.random.default_rng(0)
    likes = [None if rng.random() < 0.1 else [x for x in "abcd" if rng.random() < 0.4] for _ in range(n)]
    return pa.table(
        {
            "user_id": [f"u{i}" for i in range(n)],
            "city": [None if rng.random() < 0.1 else f"c{int(rng.integers(5) ** 2)}" for _ in range(n)],
            "tier": pa.array([int(x) if x else None for x in rng.integers(0, 4, n)]),
            "weight": [None if rng.random() < 0.1 else float(x) for x in rng.normal(size=n)],
            "score": pa.array([float(x) for x in rng.integers(0, 3, n)]),
            "member": pa.array([bool(x) for x in rng.integers(0, 2, n)]),
            "likes": likes,
            "tags": ["|".join(x for x in "xyz" if rng.random() < 0.5) for _ in range(n)],
        }
    )


COLUMNS = [
    UserColumn(column="city", how="levels", rare=0.15),
    UserColumn(column="tier", how="levels"),
    UserColumn(column="score", how="levels"),
    UserColumn(column="member", how="levels"),
    UserColumn(column="weight", how="buckets"),
    UserColumn(column="weight", how="number"),
    UserColumn(column="likes", how="labels"),
    UserColumn(column="likes", how="labels", within="city"),
    UserColumn(column="tags", how="labels"),
]


@pytest.mark.parametrize("chosen", ["all", "guessed"])
def test_each_row_is_that_of_the_table(chosen: str) -> None:
    table = people()
    columns = COLUMNS if chosen == "all" else list(guess_columns(table))
    matrix = encode_users(table, columns)
    encoder = UserEncoder.of_array(UserEncoder.fit(table, columns).to_array())
    for i, properties in enumerate(table.drop_columns(["user_id"]).to_pylist()):
        row, known = encoder.row(properties)
        np.testing.assert_allclose(row, matrix.values[i], atol=1e-5)
        assert known == matrix.known[i]


def test_what_the_table_did_not_have() -> None:
    encoder = UserEncoder.fit(people(), COLUMNS)
    sizes = [
        len(encoder.row({})[0]),
        len(encoder.row({"city": "far away", "weight": "heavy", "likes": "q"})[0]),
    ]
    assert sizes[0] == sizes[1]
    assert not encoder.row({"shoe": 3})[1]
    one = UserEncoder.fit(people(), COLUMNS[:1])
    names = one.codes[0].levels
    assert one.row({"city": "far away"})[0].tolist() == [float(name == "(rare)") for name in names]
    assert one.row({})[0].tolist() == [float(name == "(missing)") for name in names]
