"""numba behind one typed door, so that compiled kernels keep their Python signatures for the type checker."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")

prange: Callable[..., Any] = numba.prange


def kernel(*, parallel: bool = False, fastmath: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile a function with numba in nopython mode, cached on disk, without the GIL."""
    compile_ = numba.njit(cache=True, nogil=True, parallel=parallel, fastmath=fastmath)
    return cast("Callable[[Callable[P, R]], Callable[P, R]]", compile_)
