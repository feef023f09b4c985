"""pyarrow behind one door: it ships no types, so its names are given here once for the type checker.

`ArrowTable` and the others are what annotations say; at run time they are pyarrow's own classes. ``pc`` is
``pyarrow.compute``, whose functions exist only at run time.
"""

from typing import Any, TypeAlias

import pyarrow.compute as _compute

ArrowTable: TypeAlias = Any
"""A pyarrow.Table."""
ArrowBatch: TypeAlias = Any
"""A pyarrow.RecordBatch."""
ArrowColumn: TypeAlias = Any
"""A pyarrow.Array or pyarrow.ChunkedArray."""

pc: Any = _compute
