"""Work over ranges on a few threads, for kernels that release the GIL.

Threads of Python, not of numba: kernels compile in half the time, may be called from several threads of a
server at once and survive a fork, which numba's own thread layers do not all allow.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import scipy.linalg
from threadpoolctl import ThreadpoolController

R = TypeVar("R")

THREADS_VARIABLE = "PENCHANT_THREADS"


def available_threads() -> int:
    """Return PENCHANT_THREADS when set, else the number of processors this process may run on."""
    asked = os.environ.get(THREADS_VARIABLE, "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def spread(work: Callable[[int, int], R], n: int, *, chunk: int, threads: int | None = None) -> list[R]:
    """Return ``work(start, stop)`` for each chunk of ``range(n)``, in order.

    Chunks do not depend on the number of threads, so neither does a result that is combined in order. An
    error, or Ctrl-C, ends it after the chunks under way.
    """
    bounds = [(start, min(start + chunk, n)) for start in range(0, n, chunk)]
    wanted = min(threads or available_threads(), len(bounds))
    if wanted <= 1:
        return [work(start, stop) for start, stop in bounds]
    pool = ThreadPoolExecutor(wanted)
    try:
        return [done.result() for done in [pool.submit(work, *bound) for bound in bounds]]
    finally:
        pool.shutdown(cancel_futures=True)


# Loaded here so that it is found and held too: compiled np.dot calls scipy's own BLAS, not numpy's.
_SCIPY_BLAS = scipy.linalg.blas
_controllers: list[ThreadpoolController] = []


def one_blas_thread() -> AbstractContextManager[Any]:
    """Hold BLAS to one thread for a while: the threads of `spread` are enough, and BLAS's own would spin."""
    if not _controllers:  # finding the loaded libraries takes milliseconds, so it is done once
        _controllers.append(ThreadpoolController())
    return _controllers[0].limit(limits=1, user_api="blas")
