"""Globo's news (G1, Moreira et al. 2018): clicks and what was known of each user at their first one.

Academic use only; the file is never part of this project.
"""

import os
from pathlib import Path
from typing import Any

import duckdb

_LAST = 1_508_200_000_000  # ms: after the sixteen days only stragglers follow
_COLUMNS = {
    "environment": "click_environment",
    "device": "click_deviceGroup",
    "os": "click_os",
    "country": "click_country",
    "region": "click_region",
    "referrer": "click_referrer_type",
}
FEATURES = tuple(_COLUMNS)


def clicks() -> Any:
    """Return user_id, item_id, timestamp (s), session_id and the features of each click, oldest first."""
    features = ", ".join(f"CAST({column} AS VARCHAR) AS {name}" for name, column in _COLUMNS.items())
    return _table(
        f"SELECT CAST(user_id AS VARCHAR) AS user_id, CAST(click_article_id AS VARCHAR) AS item_id,"
        f" click_timestamp / 1000.0 AS timestamp, CAST(session_id AS VARCHAR) AS session_id, {features}"
        f" FROM '{_file()}' WHERE click_timestamp < {_LAST}"
        " ORDER BY click_timestamp, user_id, click_article_id"
    )


def first_seen() -> Any:
    """Return each user's features at the first click."""
    features = ", ".join(
        f"CAST(ARG_MIN({column}, click_timestamp) AS VARCHAR) AS {name}" for name, column in _COLUMNS.items()
    )
    return _table(
        f"SELECT CAST(user_id AS VARCHAR) AS user_id, {features} FROM '{_file()}'"
        f" WHERE click_timestamp < {_LAST} GROUP BY user_id ORDER BY user_id"
    )


def _file() -> Path:
    root = Path(os.environ.get("PENCHANT_DATA", Path(__file__).parents[2] / "shared" / "data"))
    path = root / "globo_news" / "clicks.parquet"
    if not path.is_file():
        raise SystemExit(
            f"Globo's clicks are not there: {path}. Set PENCHANT_DATA to the folder of real data."
        )
    return path


def _table(query: str) -> Any:
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        return connection.sql(query).to_arrow_table()
