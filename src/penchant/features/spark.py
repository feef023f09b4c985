"""The same SQL text on Spark 4, classic or over Connect, and its sessions."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, final

import pyarrow as pa

from penchant.features.engine import Slice, Table
from penchant.kernel.arrow import ArrowBatch
from penchant.kernel.errors import NotReady

INSTALL = "pip install 'penchant[spark]'"


def spark_session(master: str, **options: str) -> Any:
    """Return a Spark session in UTC: ``local[2]``, ``spark://host:7077``, ``yarn``; ``sc://host`` is Connect.

    ``options`` are Spark's own, with ``_`` for each dot (``spark_executor_memory="4g"``). The workers need
    this package and its dependencies too; those on this machine run this interpreter.

    Raises:
        NotReady: pyspark, or for a session in this process Java, is not installed.
    """
    if find_spec("pyspark") is None:
        raise NotReady("Spark is not installed.", fix=f"Run: {INSTALL}")
    remote = master.startswith("sc://")
    if not remote and not os.environ.get("JAVA_HOME") and shutil.which("java") is None:
        raise NotReady("Spark needs Java 17 or newer.", fix="Put `java` on the PATH or set JAVA_HOME.")
    # An extra that type checks go without.
    builder: Any = import_module("pyspark.sql").SparkSession.builder
    builder = builder.remote(master) if remote else builder.master(master).appName("penchant")
    if master.startswith("local"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    for name, value in {"spark_sql_session_timeZone": "UTC", **options}.items():
        builder = builder.config(name.replace("_", "."), value)
    return builder.getOrCreate()


@final
class SparkEngine:
    """Runs portable SQL on a Spark session; the answer comes back to this process."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def query(self, sql: str, tables: Mapping[str, Table]) -> Iterator[ArrowBatch]:
        """Run ``sql`` over ``tables`` under those names; rows come in no particular order."""
        return iter(self.frame(sql, tables).toArrow().to_batches())

    def frame(self, sql: str, tables: Mapping[str, Table]) -> Any:
        """Return the answer as a Spark DataFrame: nothing is computed yet."""
        named = {name: self.table(table) for name, table in tables.items()}
        for name, frame in named.items():
            frame.createOrReplaceTempView(name)
        return self.session.sql(sql)

    def table(self, table: Table) -> Any:
        """Return a table as a DataFrame."""
        if isinstance(table, Slice):
            return self.session.read.parquet(str(table.path)).where(table.condition)
        if isinstance(table, pa.Table):
            return self.session.createDataFrame(_plain(table))
        return self.session.read.parquet(str(table))


def _plain(table: Any) -> Any:
    """Return the table without dictionary columns, which Spark does not take."""
    schema = pa.schema(
        [
            pa.field(field.name, field.type.value_type if pa.types.is_dictionary(field.type) else field.type)
            for field in table.schema
        ]
    )
    return table.cast(schema)
