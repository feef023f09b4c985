"""Online Retail's two years as two shops: the next item within a shop and across."""

import os
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from bench.paired import ROOT, versions
from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.kernel.arrays import F32, Csr, Rows
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.measure import train_measured
from penchant.models.prod2vec import Prod2Vec, Prod2VecModel, means, next_item_ndcg
from penchant.models.prod2vec_alignment import Content, Pairs, SpaceMap, align, content_pairs
from penchant.models.prod2vec_words import WordDecoder, words_of
from penchant.models.sessions import sessions_of

BAR = 0.7
TEST = 0.1  # of a shop's invoices, the latest
RECIPE = Prod2Vec(epochs=10, patience=0)  # stopping early had found 9 epochs in one shop and 13 in the other


@dataclass(frozen=True, kw_only=True)
class Shop:
    """One year: invoices as users, so that an invoice is a session; the latest tenth is held out."""

    train: Snapshot
    tests: Csr  # sessions over the snapshot's items
    content: Content
    customers: list[str]  # of each training user; "" = unknown


def shop(name: str, names: tuple[str, str, str, str], quick: bool) -> Shop:
    """Read a year: sales of products (codes of five digits), nothing returned or given away.

    Lines of an invoice share a minute; a thousandth of a second each keeps them in their order.
    """
    folder = Path(os.environ.get("PENCHANT_DATA", ROOT.parent / "shared" / "data"))
    invoice, date, price, customer = names
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    rows = con.execute(
        f"""
        SELECT CAST("{invoice}" AS VARCHAR) AS user_id, upper(trim(StockCode)) AS item_id,
               epoch(CAST("{date}" AS TIMESTAMP)) + file_row_number % 1000 / 1e3 AS timestamp,
               trim(Description) AS title,
               CAST("{price}" AS DOUBLE) AS price, CAST("{customer}" AS VARCHAR) AS customer
        FROM read_parquet('{folder / "online_retail" / name}.parquet')
        WHERE Quantity > 0 AND "{price}" > 0 AND regexp_matches(StockCode, '^[0-9]{{5}}')
        ORDER BY timestamp, user_id {"LIMIT 40000" if quick else ""}
        """
    ).to_arrow_table()
    con.register("sales", rows)
    items = con.execute(
        "SELECT item_id, mode(title) AS title, median(price) AS price FROM sales GROUP BY item_id"
    ).to_arrow_table()
    buyers = dict(
        con.execute("SELECT user_id, coalesce(any_value(customer), '') FROM sales GROUP BY ALL").fetchall()
    )
    table = build_snapshot(
        rows.select(["user_id", "item_id", "timestamp"]),
        items=items.select(["item_id"])
        .append_column("title", items["title"])
        .append_column("price", items["price"]),
    )
    begun = np.full(table.n_users, np.inf)
    np.minimum.at(begun, table.interactions.user, table.interactions.timestamp)
    cut = float(np.quantile(begun, 1 - TEST))
    late = begun[table.interactions.user] >= cut
    train = table.with_interactions(table.interactions.select(~late), cutoff=cut)
    tests, _ = sessions_of(table.interactions.select(late), 1e9, table.n_items)
    kind: pa.Table = table.item_table
    return Shop(
        train=train,
        tests=tests,
        content=Content(
            text=[text or "" for text in kind["title"].to_pylist()],
            category=[""] * table.n_items,
            price=np.array([p or np.nan for p in kind["price"].to_pylist()]),
        ),
        customers=[buyers[u] for u in table.users.ids(range(table.n_users))],
    )


def customer_pairs(a: Shop, b: Shop, va: F32, vb: F32, usable: tuple[np.ndarray, np.ndarray]) -> Pairs:
    """Pair the mean vectors of customers known in both shops, over the products that are not hidden."""
    both = sorted((set(a.customers) & set(b.customers)) - {""})
    place = {customer: i for i, customer in enumerate(both)}
    sides: list[F32] = []
    for one, vectors, may in ((a, va, usable[0]), (b, vb, usable[1])):
        events = one.train.interactions
        who = np.array([place.get(customer, -1) for customer in one.customers], np.int32)[events.user]
        kept = (who >= 0) & may[events.item]
        ones = np.ones(int(kept.sum()), np.float32)
        rows = Csr.group(who[kept], events.item[kept], ones, n_rows=len(both), n_columns=len(vectors))
        sides.append(means(rows, vectors))
    rows = np.arange(len(both), dtype=np.int32)
    return Pairs.of_items(sides[0], sides[1], (rows, rows), 0.25)


def requests(tests: Csr, told: np.ndarray) -> tuple[Csr, Csr, Rows]:
    """For each place in a test session: what may be told of the items before, all of them, and the item."""
    owner, known, all_owner, all_known, wanted = [], [], [], [], []
    for s in range(tests.n_rows):
        items = tests.row(s).tolist()
        for at in range(1, min(len(items), 20)):
            before = [i for i in items[max(at - 5, 0) : at] if told[i]]
            if before and items[at] not in items[:at]:
                owner += [len(wanted)] * len(before)
                known += before
                all_owner += [len(wanted)] * at
                all_known += items[:at]
                wanted.append(items[at])
    shape = {"n_rows": len(wanted), "n_columns": tests.n_columns}
    ones = (np.ones(len(known), np.float32), np.ones(len(all_known), np.float32))
    asked = Csr.group(np.array(owner, np.int32), np.array(known, np.int32), ones[0], **shape)
    seen = Csr.group(np.array(all_owner, np.int32), np.array(all_known, np.int32), ones[1], **shape)
    return asked, seen, np.array(wanted, np.int32)


def main(*, quick: bool) -> dict[str, object]:
    first = shop("year_2009-2010", ("Invoice", "InvoiceDate", "Price", "Customer ID"), quick)
    second = shop("year_2010-2011_cleaned", ("InvoiceNo", "InvoiceDate", "UnitPrice", "CustomerID"), quick)
    models: list[Prod2VecModel] = []
    for one in (first, second):
        model = train_measured(RECIPE, one.train, seed=42, progress=Silent())
        assert isinstance(model, Prod2VecModel)
        card = model.card
        size = f"{card.items:,} products, {card.interactions:,} lines"
        print(f"{size}, {card.cpu_seconds:.0f} CPU s, {card.metrics}")
        models.append(model)
    va, vb = (np.asarray(model.index.by_row()) for model in models)
    of_b = np.asarray(models[0].items.rows(models[1].items.to_arrow()))  # row in A of each product of B
    shared = np.flatnonzero((of_b >= 0) & vb.any(axis=1) & va[np.maximum(of_b, 0)].any(axis=1))
    hidden = derive(42, "hidden").permutation(shared)[: len(shared) // 2]
    usable_b = np.ones(len(vb), np.bool_)
    usable_b[hidden] = False
    usable_a = np.ones(len(va), np.bool_)
    usable_a[of_b[hidden]] = False
    told = np.zeros(len(vb), np.bool_)
    told[hidden] = True
    asked, seen, wanted = requests(second.tests, told)
    print(f"{len(shared):,} products shared, {len(hidden):,} of them hidden; {len(wanted):,} requests")

    left, right, how = content_pairs(first.content, second.content)
    kept = usable_a[left] & usable_b[right]
    by_text = Pairs.of_items(va, vb, (left[kept], right[kept]), how[kept])
    open_ = np.setdiff1d(shared, hidden)
    by_code = Pairs.of_items(va, vb, (of_b[open_], open_.astype(np.int32)))
    by_customer = customer_pairs(first, second, va, vb, (usable_a, usable_b))
    may = (usable_a, usable_b)
    maps = {
        "text alone": SpaceMap.fit(by_text),
        "text, refined": align(va, vb, by_text, allowed=may),
        "text and customers, refined": align(va, vb, by_text.joined(by_customer), allowed=may),
        "text, customers and codes, refined": align(
            va, vb, by_text.joined(by_customer).joined(by_code), allowed=may
        ),
    }
    as_a = Csr(
        indptr=asked.indptr, indices=of_b[asked.indices].astype(np.int32), data=asked.data, n_columns=len(va)
    )
    popular = np.bincount(second.train.interactions.item, minlength=len(vb)).astype(np.float32)
    within = float(next_item_ndcg(vb, means(asked, vb), seen, wanted).mean())
    ones = np.ones((len(wanted), 1), np.float32)
    result = {
        "within": within,
        "popularity": float(next_item_ndcg(popular[:, None], ones, seen, wanted).mean()),
        "not aligned": float(next_item_ndcg(vb, means(as_a, va), seen, wanted).mean()),
    }
    for name, found in maps.items():
        result[name] = float(next_item_ndcg(vb, means(as_a, found.apply(va)), seen, wanted).mean())
    for name, value in result.items():
        print(f"{name:36} NDCG@10 {value:.4f}  {value / within:.0%} of within")
    ratio = result["text, customers and codes, refined"] / within
    words = intent(models[1], second, maps["text, customers and codes, refined"].apply(va), as_a, wanted)
    print(", ".join(f"{name} {value:.3f}" for name, value in words.items()))
    return {
        "bar": f"across at least {BAR:.0%} of within",
        "met": ratio >= BAR,
        "data": "Online Retail II: two years as two shops, the latest tenth of invoices held out",
        "protocol": f"{len(wanted):,} next items in shop B after hidden shared products, seen ones excluded",
        "ndcg_at_10": result,
        "ratio": ratio,
        "words_mrr": words,
        "versions": versions("scikit-learn"),
    }


def intent(model: Prod2VecModel, one: Shop, moved: F32, asked: Csr, wanted: Rows) -> dict[str, float]:
    """MRR@10 of a word of the wanted product from two letters and a session of the other shop."""
    decoder = WordDecoder.fit(model.index.by_row(), one.content.text)
    vectors, known = means(asked, moved), set(decoder.words)
    rng = derive(42, "words")
    told, untold = [], []
    for i in rng.choice(len(wanted), min(len(wanted), 2_000), replace=False).tolist():
        options = [word for word in words_of(one.content.text[wanted[i]]) if word in known]
        if not options:
            continue
        word = options[int(rng.integers(len(options)))]
        for vector, gains in ((vectors[i], told), (np.zeros_like(vectors[i]), untold)):
            given = [w for w, _ in decoder.complete(vector, word[:2])]
            gains.append(1 / (given.index(word) + 1) if word in given else 0.0)
    return {"words with the session": float(np.mean(told)), "words by frequency": float(np.mean(untold))}
