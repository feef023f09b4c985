"""Purchase features: 17 symbols in every category and over the account, as one portable SQL text.

The symbols and the names (``cto078``: order count in category 78, code 000 the whole account) are those of
the lookalike system that Coupang described in 2018.
"""

from typing import Final

import msgspec

SYMBOLS: Final[dict[str, str]] = {
    "aas": "annualised spend",
    "cto": "count of orders",
    "ctq": "count of units bought",
    "ctv": "count of views",
    "cts": "count of searches",
    "vpo": "views per order",
    "vpq": "views per unit",
    "spo": "searches per order",
    "spq": "searches per unit",
    "dpo": "days of the window per order",
    "dpq": "days of the window per unit",
    "gpo": "spend per order",
    "gpq": "spend per unit",
    "gpd": "spend per day",
    "dsl": "days since the last order",
    "vsl": "days since the last view",
    "ssl": "days since the last search",
}

NEEDS: Final[dict[str, frozenset[str]]] = {
    symbol: frozenset(kinds.split())
    for symbol, kinds in {
        "aas": "purchase",
        "cto": "purchase",
        "ctq": "purchase",
        "ctv": "view",
        "cts": "search",
        "vpo": "view purchase",
        "vpq": "view purchase",
        "spo": "search purchase",
        "spq": "search purchase",
        "dpo": "purchase",
        "dpq": "purchase",
        "gpo": "purchase",
        "gpq": "purchase",
        "gpd": "purchase",
        "dsl": "purchase",
        "vsl": "view",
        "ssl": "search",
    }.items()
}
"""The kinds of activity without which a symbol is never but "never"."""

REPEATS: Final[dict[str, str]] = {"gpd": "aas", "dpo": "cto", "dpq": "ctq"}
"""Symbols that are a constant times another, or its inverse: whatever ranks values learns nothing new."""

ACTIVITY: Final = ("user_row", "code", "kind", "order_key", "quantity", "spend", "moment")
"""The columns of the table ``activity`` that the SQL reads.

``user_row`` int; ``code`` int, 0 where the item has no category; ``kind`` purchase, view or search;
``order_key`` what tells two orders of a user apart, null for views and searches; ``quantity`` and ``spend``
bigint in millionths, null where unknown (whole numbers, so that a sum does not depend on the order it is
taken in and every engine gives the same features, run after run); ``moment`` double, seconds UTC.
"""

PERIOD: Final = ("start_at", "end_at", "days", "first_user", "end_user")
"""The columns of the one-row table ``period``.

Chosen are start_at < moment <= end_at and first_user <= user_row < end_user.
"""

MILLION: Final = 1_000_000

PURCHASE_SQL: Final = """
WITH chosen AS (
  SELECT a.user_row, a.code, a.kind, a.order_key, a.quantity, a.spend, a.moment
  FROM activity a CROSS JOIN period p
  WHERE a.moment > p.start_at AND a.moment <= p.end_at
    AND a.user_row >= p.first_user AND a.user_row < p.end_user
), cells AS (
  SELECT user_row, code, kind, order_key, quantity, spend, moment FROM chosen WHERE code > 0
  UNION ALL
  SELECT user_row, 0 AS code, kind, order_key, quantity, spend, moment FROM chosen
), baskets AS (
  SELECT user_row, code, COUNT(*) AS orders
  FROM (SELECT DISTINCT user_row, code, order_key FROM cells WHERE kind = 'purchase') o
  GROUP BY user_row, code
), totals AS (
  SELECT user_row, code,
    CAST(SUM(quantity) FILTER (WHERE kind = 'purchase') AS DOUBLE) / 1000000 AS units,
    CAST(SUM(spend) FILTER (WHERE kind = 'purchase') AS DOUBLE) / 1000000 AS spent,
    CAST(NULLIF(COUNT(*) FILTER (WHERE kind = 'view'), 0) AS DOUBLE) AS views,
    CAST(NULLIF(COUNT(*) FILTER (WHERE kind = 'search'), 0) AS DOUBLE) AS searches,
    MAX(moment) FILTER (WHERE kind = 'purchase') AS ordered_at,
    MAX(moment) FILTER (WHERE kind = 'view') AS viewed_at,
    MAX(moment) FILTER (WHERE kind = 'search') AS searched_at
  FROM cells
  GROUP BY user_row, code
), sums AS (
  SELECT t.user_row, t.code, b.orders, t.units, t.spent, t.views, t.searches,
    t.ordered_at, t.viewed_at, t.searched_at
  FROM totals t LEFT JOIN baskets b ON b.user_row = t.user_row AND b.code = t.code
)
SELECT s.user_row, s.code,
  s.spent * 365 / p.days AS aas,
  CAST(s.orders AS DOUBLE) AS cto,
  s.units AS ctq,
  s.views AS ctv,
  s.searches AS cts,
  s.views / s.orders AS vpo,
  s.views / NULLIF(s.units, 0) AS vpq,
  s.searches / s.orders AS spo,
  s.searches / NULLIF(s.units, 0) AS spq,
  p.days / s.orders AS dpo,
  p.days / NULLIF(s.units, 0) AS dpq,
  s.spent / s.orders AS gpo,
  s.spent / NULLIF(s.units, 0) AS gpq,
  s.spent / p.days AS gpd,
  FLOOR((p.end_at - s.ordered_at) / 86400) AS dsl,
  FLOOR((p.end_at - s.viewed_at) / 86400) AS vsl,
  FLOOR((p.end_at - s.searched_at) / 86400) AS ssl
FROM sums s CROSS JOIN period p
"""
"""A long table: one row for each user and category with any activity, one column for each symbol."""

BEHAVIOUR: Final[dict[str, str]] = {
    "tenure": "days since the first activity in the window",
    "active_days": "days with any activity",
    "breadth": "number of categories bought from",
    "largest": "spend of the largest order",
    "gap": "days from one order to the next, on average",
    "overdue": "days since the last order, in average gaps: the churn score",
    "lately": "share of the orders that fall in the last quarter of the window",
    "trend": "spend of the window's second half less its first, over all spend",
    "weekend": "share of the orders on Saturday or Sunday, UTC",
    "evening": "share of the orders at 17:00 or later, UTC",
}
"""Recency, frequency, value, engagement and churn of the account, beyond the symbols of code 000."""

BEHAVIOUR_SQL: Final = """
WITH chosen AS (
  SELECT a.user_row, a.code, a.kind, a.order_key, a.spend, a.moment
  FROM activity a CROSS JOIN period p
  WHERE a.moment > p.start_at AND a.moment <= p.end_at
    AND a.user_row >= p.first_user AND a.user_row < p.end_user
), whole AS (
  SELECT user_row, MIN(moment) AS first_at, COUNT(DISTINCT FLOOR(moment / 86400)) AS active_days,
    COUNT(DISTINCT code) FILTER (WHERE kind = 'purchase' AND code > 0) AS breadth
  FROM chosen
  GROUP BY user_row
), baskets AS (
  SELECT user_row, order_key, SUM(spend) AS spend, MAX(moment) AS moment
  FROM chosen
  WHERE kind = 'purchase'
  GROUP BY user_row, order_key
), orders AS (
  SELECT b.user_row, COUNT(*) AS n, MIN(b.moment) AS first_order, MAX(b.moment) AS last_order,
    CAST(MAX(b.spend) AS DOUBLE) / 1000000 AS largest,
    CAST(SUM(b.spend) AS DOUBLE) AS spent,
    CAST(SUM(CASE WHEN b.moment > p.end_at - p.days * 43200 THEN b.spend ELSE -b.spend END) AS DOUBLE)
      AS tilt,
    COUNT(*) FILTER (WHERE b.moment > p.end_at - p.days * 21600) AS recent,
    COUNT(*) FILTER (WHERE MOD(FLOOR(b.moment / 86400) + 3, 7) >= 5) AS weekends,
    COUNT(*) FILTER (WHERE b.moment - FLOOR(b.moment / 86400) * 86400 >= 61200) AS evenings
  FROM baskets b CROSS JOIN period p
  GROUP BY b.user_row
)
SELECT w.user_row,
  FLOOR((p.end_at - w.first_at) / 86400) AS tenure,
  CAST(w.active_days AS DOUBLE) AS active_days,
  CAST(w.breadth AS DOUBLE) AS breadth,
  o.largest AS largest,
  (o.last_order - o.first_order) / 86400 / NULLIF(o.n - 1, 0) AS gap,
  (p.end_at - o.last_order) * NULLIF(o.n - 1, 0) / NULLIF(o.last_order - o.first_order, 0) AS overdue,
  CAST(o.recent AS DOUBLE) / o.n AS lately,
  o.tilt / NULLIF(o.spent, 0) AS trend,
  CAST(o.weekends AS DOUBLE) / o.n AS weekend,
  CAST(o.evenings AS DOUBLE) / o.n AS evening
FROM whole w LEFT JOIN orders o ON o.user_row = w.user_row CROSS JOIN period p
"""
"""One row for each active user. Day 0 of 1970 was a Thursday, hence weekdays counted from Monday by +3."""


class PurchaseFeatures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which features to compute.

    ``category`` names the item column that gives the categories: any level of a hierarchy; empty for features
    of the account alone. ``reference`` is
    the end of the window, seconds UTC (the snapshot's cut-off unless given). Event types are told apart by
    name; types in none of the three lists are left out, unless no type is a purchase, when every event counts
    as one. ``profile`` names user columns to take in: numbers as they are, text as one column a value.
    """

    category: str = "category"
    window_days: float = 365.0
    reference: float | None = None
    purchase: tuple[str, ...] = ("purchase", "buy", "order", "transaction")
    view: tuple[str, ...] = ("view", "click", "detail_view")
    search: tuple[str, ...] = ("search",)
    behaviour: bool = True
    profile: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.window_days < 100_000:
            raise ValueError(f"window_days must be between 0 and 100000, not {self.window_days}.")


def feature_name(symbol: str, code: int) -> str:
    """Return the published name: ``feature_name("cto", 78)`` is ``cto078``."""
    return f"{symbol}{code:03d}"
