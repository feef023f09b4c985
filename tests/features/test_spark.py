"""The same SQL and the same seed list on Spark: a cluster of separate workers, and Spark Connect."""

import os
import shutil
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from penchant.audiences.ensemble import Ensemble
from penchant.audiences.grow import grow
from penchant.audiences.selection import Selection
from penchant.data.snapshot import build_snapshot
from penchant.features import spark
from penchant.features.coding import code_table
from penchant.features.purchase import BEHAVIOUR_SQL, PURCHASE_SQL, PurchaseFeatures
from penchant.features.purchase_matrix import PurchaseTable, compute, purchase_table
from penchant.features.spark import SparkEngine, spark_session
from penchant.features.spark_codes import spark_codes
from penchant.kernel.clock import DAY
from penchant.kernel.errors import NotReady
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive

END = 1_700_000_000.0
N = 600
PYSPARK = find_spec("pyspark") is not None
JAVA = bool(os.environ.get("JAVA_HOME") or shutil.which("java"))
needs_spark = pytest.mark.skipif(
    not (PYSPARK and JAVA), reason="needs pyspark (pip install 'penchant[spark]') and Java"
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # three JVMs start; on a busy machine that takes minutes
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # pyspark's own
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # its sockets, closed by the collector
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def table() -> PurchaseTable:
    """600 customers; the first 120 order more in category c1."""
    rng = derive(0, "spark")
    count = 15_000
    user = rng.integers(0, N - 5, count)
    liked = (user < 120) & (rng.random(count) < 0.4)
    item = np.where(liked, 1, rng.integers(0, 40, count))
    kind = rng.choice(["purchase", "view", "search"], count, p=[0.6, 0.3, 0.1])
    events = pa.table(
        {
            "user_id": [f"u{u:03d}" for u in user],
            "item_id": [f"i{i:02d}" for i in item],
            "event_type": kind,
            "timestamp": END - DAY * rng.uniform(0, 300, count).round(2),
            "event_value": pa.array(rng.gamma(2.0, 3.0, count).round(2), mask=kind != "purchase"),
        }
    )
    items = pa.table(
        {
            "item_id": [f"i{i:02d}" for i in range(40)],
            "category": pa.array([f"c{i % 6}" if i % 9 else None for i in range(40)]),
        }
    )
    users = pa.table(
        {
            "user_id": [f"u{u:03d}" for u in range(N)],
            "age": pa.array([u % 60 if u % 5 else None for u in range(N)], pa.int32()),
        }
    )
    snapshot = build_snapshot(events, items=items, users=users, cutoff=END)
    return purchase_table(snapshot, PurchaseFeatures(profile=("age",)))


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def cluster(port: int) -> Iterator[Any]:
    """Return a session on two worker processes of their own; it also serves Spark Connect on ``port``."""
    # For a minute of work the second compiler and parallel collectors cost more than they save.
    quick_start = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    session = spark_session(
        "local-cluster[2,1,1024]",
        spark_driver_extraJavaOptions=quick_start,
        spark_executor_extraJavaOptions=quick_start,
        spark_sql_codegen_wholeStage="false",
        spark_sql_codegen_factoryMode="NO_CODEGEN",
        spark_plugins="org.apache.spark.sql.connect.SparkConnectPlugin",
        spark_connect_grpc_binding_port=str(port),
        spark_driver_bindAddress="127.0.0.1",
        spark_driver_host="127.0.0.1",
        spark_ui_enabled="false",
        spark_ui_showConsoleProgress="false",
        spark_sql_shuffle_partitions="2",
        spark_sql_adaptive_enabled="false",
        spark_executorEnv_OMP_NUM_THREADS="1",
        spark_log_level="ERROR",
    )
    yield session
    session.stop()


@pytest.fixture(scope="module")
def connect(cluster: Any, port: int) -> Iterator[Any]:
    """Return a Connect client of the cluster: it talks gRPC and has no JVM."""
    from pyspark.sql.connect.session import SparkSession

    session: Any = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").create()
    session.conf.set("spark.sql.session.timeZone", "UTC")
    yield session
    session.stop()


@needs_spark
def test_features_are_equal_to_the_last_digit(table: PurchaseTable, cluster: Any) -> None:
    ours, theirs = compute(table), compute(table, engine=SparkEngine(cluster))
    assert theirs.names == ours.names
    np.testing.assert_array_equal(theirs.values, ours.values)  # NaN, never, in the same places


@needs_spark
def test_the_same_audience_comes_from_the_cluster_over_connect(
    table: PurchaseTable, connect: Any, tmp_path: Path
) -> None:
    one = code_table(table, tmp_path / "store", source="x")
    many = spark_codes(table, connect, str(tmp_path / "codes"), partitions=2)
    assert many.book == one.book
    np.testing.assert_array_equal(many.edges, one.edges)
    np.testing.assert_array_equal(many.counts, one.counts)
    rows = np.array([3, 77, 599], np.int32)
    np.testing.assert_array_equal(many.among(rows).codes, one.codes[:, rows])
    lists = np.array([[1, 5, 9], [500, 2, 599]])
    np.testing.assert_array_equal(many.histograms(lists), one.histograms(lists))

    seeds = np.arange(0, 120, 2, dtype=np.int32)
    few = {"selection": Selection(draws=39, refuse_at=0.06), "learners": Ensemble(tree_bags=1)}
    here = grow(one, seeds, 60, rng=derive(0, "a"), progress=Silent(), **few)
    there = grow(many, seeds, 60, rng=derive(0, "a"), progress=Silent(), **few)
    assert there.rows.tolist() == here.rows.tolist()
    np.testing.assert_allclose(there.scores, here.scores, atol=1e-6)
    assert (here.rows < 120).sum() > 40


@pytest.mark.parametrize("sql", [PURCHASE_SQL, BEHAVIOUR_SQL])
def test_the_sql_keeps_to_what_both_engines_share(sql: str) -> None:
    for banned in ('"', "PIVOT", "APPROX_", "HASH(", "ASOF", "TABLESAMPLE"):
        assert banned not in sql.upper()


def test_what_is_missing_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark, "find_spec", lambda name: None)
    with pytest.raises(NotReady, match=r"pip install 'penchant\[spark\]'$"):
        spark_session("local[1]")
    monkeypatch.setattr(spark, "find_spec", lambda name: object())
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(NotReady, match="Java 17"):
        spark_session("local[1]")
