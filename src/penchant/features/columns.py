"""Features that already stand in Parquet, read one column after the other: memory holds one."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from penchant.kernel.arrays import F32
from penchant.kernel.errors import InputError
from penchant.kernel.names import did_you_mean


def parquet_columns(path: Path, names: Sequence[str]) -> Iterator[F32]:
    """Yield each named column (n,) float32 of a Parquet file, null as NaN.

    Raises:
        InputError: there is no such column.
    """
    file = pq.ParquetFile(path, memory_map=True)
    known = file.schema_arrow.names
    for name in names:
        if name not in known:
            raise InputError(f"no column '{name}'.", where=str(path), fix=did_you_mean(name, known))
        column = file.read(columns=[name], use_threads=False).column(0)
        yield np.asarray(column.to_numpy(zero_copy_only=False), np.float32)
