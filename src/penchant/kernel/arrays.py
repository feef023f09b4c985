"""Array types, read-only arrays and the compressed sparse row matrix that every floor shares."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from penchant.kernel.errors import Defect, InputError

Rows: TypeAlias = NDArray[np.int32]
"""Row numbers into a `Vocab`; -1 where there is none. Never an outside id."""
F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]
I16: TypeAlias = NDArray[np.int16]
I64: TypeAlias = NDArray[np.int64]
U8: TypeAlias = NDArray[np.uint8]
Bools: TypeAlias = NDArray[np.bool_]
AnyArray: TypeAlias = NDArray[Any]

A = TypeVar("A", bound=AnyArray)


def readonly(array: A) -> A:
    """Mark ``array`` as not writeable and return it."""
    array.flags.writeable = False
    return array


@dataclass(frozen=True, slots=True, kw_only=True)
class Csr:
    """A sparse (n_rows, n_columns) matrix by rows; entries of a row keep the order they were given in.

    Row ``i`` holds columns ``indices[indptr[i]:indptr[i + 1]]`` with ``data`` of the same slice.
    """

    indptr: I64  # (n_rows + 1,)
    indices: Rows  # (nnz,)
    data: F32  # (nnz,)
    n_columns: int

    def __post_init__(self) -> None:
        if len(self.indices) != len(self.data) or self.indptr[-1] != len(self.indices):
            raise Defect(
                f"CSR parts disagree: {len(self.indices)} indices, {len(self.data)} values, "
                f"last pointer {self.indptr[-1]}."
            )

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    @property
    def nnz(self) -> int:
        """Number of stored entries."""
        return len(self.indices)

    def row(self, i: int) -> Rows:
        """Return the columns of row ``i``, a view."""
        return self.indices[self.indptr[i] : self.indptr[i + 1]]

    def values(self, i: int) -> F32:
        """Return the values of row ``i``, a view."""
        return self.data[self.indptr[i] : self.indptr[i + 1]]

    def take(self, rows: Rows) -> "Csr":
        """Return the matrix of ``rows`` in that order, copied; -1 gives an empty row."""
        known = rows >= 0
        safe = np.where(known, rows, 0)
        lengths = np.where(known, np.diff(self.indptr)[safe], 0)
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        starts = np.repeat(self.indptr[safe] - indptr[:-1], lengths)
        pick = starts + np.arange(indptr[-1])
        return Csr(
            indptr=readonly(indptr),
            indices=readonly(self.indices[pick]),
            data=readonly(self.data[pick]),
            n_columns=self.n_columns,
        )

    def transpose(self) -> "Csr":
        """Return the (n_columns, n_rows) matrix; rows of the result are in ascending order of old rows."""
        order = np.argsort(self.indices, kind="stable")
        owner = np.repeat(np.arange(self.n_rows, dtype=np.int32), np.diff(self.indptr))
        counts = np.bincount(self.indices, minlength=self.n_columns)
        return Csr(
            indptr=readonly(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)),
            indices=readonly(owner[order]),
            data=readonly(self.data[order]),
            n_columns=self.n_rows,
        )

    @classmethod
    def group(cls, owner: Rows, column: Rows, value: F32, *, n_rows: int, n_columns: int) -> "Csr":
        """Group entries by ``owner``, keeping their given order within a row; duplicates stay."""
        order = np.argsort(owner, kind="stable")
        counts = np.bincount(owner, minlength=n_rows)
        return cls(
            indptr=readonly(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)),
            indices=readonly(column[order].astype(np.int32, copy=False)),
            data=readonly(value[order].astype(np.float32, copy=False)),
            n_columns=n_columns,
        )

    @classmethod
    def summed(cls, owner: Rows, column: Rows, value: F32, *, n_rows: int, n_columns: int) -> "Csr":
        """Sum the values of equal (owner, column); columns ascend within a row."""
        key = owner.astype(np.int64) * n_columns + column
        unique, inverse = np.unique(key, return_inverse=True)
        data = np.bincount(inverse, weights=value, minlength=len(unique)).astype(np.float32)
        rows = unique // max(n_columns, 1)
        counts = np.bincount(rows, minlength=n_rows)
        return cls(
            indptr=readonly(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)),
            indices=readonly((unique % max(n_columns, 1)).astype(np.int32)),
            data=readonly(data),
            n_columns=n_columns,
        )


def save_arrays(folder: Path, arrays: Mapping[str, AnyArray]) -> None:
    """Write each array as ``folder/<name>.npy``; the folder must exist."""
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)


def open_arrays(folder: Path, *, mmap: bool = True) -> dict[str, AnyArray]:
    """Open every ``*.npy`` of ``folder`` read-only, memory-mapped unless told otherwise.

    Raises:
        InputError: a file is not a readable .npy array.
    """
    opened: dict[str, AnyArray] = {}
    for path in sorted(folder.glob("*.npy")):
        try:
            array = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise InputError(
                f"not a readable .npy array ({error}).",
                where=str(path),
                fix="Train again or restore the folder.",
            ) from error
        # A plain view of the mapped memory: slices of np.memmap itself cost microseconds more each.
        opened[path.stem] = readonly(np.asarray(array))
    return opened
