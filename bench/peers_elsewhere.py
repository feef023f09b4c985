"""Peers in another Python, which PENCHANT_PEER_PYTHON names: RecTools and LensKit pin numpy 1.

    python3.11 -m venv PEERS
    PEERS/bin/pip install 'lenskit==2025.8.1' 'rectools==0.19.0' 'pyarrow==20.*'
    PENCHANT_PEER_PYTHON=PEERS/bin/python python -m bench quality

One process answers all requests, so that the libraries are loaded once and their loading is not counted.
"""

import atexit
import io
import json
import os
import struct
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from bench.peers import Weights, weighted
from penchant.data.splits import Split
from penchant.evaluation.protocols import Peer
from penchant.kernel.arrays import Csr, Rows
from penchant.models.measure import Cost

PEER_PYTHON = "PENCHANT_PEER_PYTHON"


def here() -> bool:
    """Return whether that Python is named."""
    return PEER_PYTHON in os.environ


def elsewhere(name: str, kind: str) -> Callable[..., Peer]:
    """Return what makes a peer out of its settings; ``kind`` is a function of `bench.peer_worker`."""

    def make(*, weights: Weights = "binary", **settings: Any) -> Peer:
        return Elsewhere(name=name, kind=kind, weights=weights, settings=settings)

    return make


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """One of them. ``spent`` is what its last answer took there."""

    name: str
    kind: str
    weights: Weights
    settings: Mapping[str, Any]
    spent: Cost = field(default_factory=Cost, compare=False)

    def top_many(self, split: Split, k: int) -> Rows:
        """Have it train and answer."""
        train = weighted(split, split.train.interactions, split.train.n_users, self.weights)
        histories = weighted(split, split.histories, len(split), self.weights)
        told: dict[str, Any] = {"kind": self.kind, "settings": json.dumps(self.settings), "k": k}
        told["n_items"] = split.train.n_items
        for name, matrix in (("train", train), ("histories", histories), ("exclude", split.exclude)):
            told |= _arrays(name, matrix)
        answer = _asked(told)
        self.spent.cpu_seconds, self.spent.peak_mb = float(answer["cpu_seconds"]), float(answer["peak_mb"])
        return answer["lists"]


def _arrays(name: str, matrix: csr_matrix | Csr) -> dict[str, Any]:
    return {f"{name}_{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}


@cache
def _process() -> subprocess.Popen[bytes]:
    worker = Path(__file__).parent / "peer_worker.py"
    process = subprocess.Popen(
        [os.environ[PEER_PYTHON], str(worker)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ""},
    )
    atexit.register(process.kill)
    return process


def _asked(told: Mapping[str, Any]) -> dict[str, Any]:
    process, request = _process(), io.BytesIO()
    assert process.stdin is not None
    assert process.stdout is not None
    np.savez(request, **told)
    process.stdin.write(struct.pack("<q", request.tell()) + request.getvalue())
    process.stdin.flush()
    head = process.stdout.read(8)
    if len(head) < 8:
        raise RuntimeError(f"the peers' Python ended with {process.wait()}; its words are above")
    with np.load(io.BytesIO(process.stdout.read(*struct.unpack("<q", head)))) as found:
        return dict(found)
