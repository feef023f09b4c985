"""What an encoder said, kept by the content of each text: a text is encoded once in the life of a workspace.

::

    <folder>/<digest of the encoder's identity>/<digest of the keys>/keys.npy      (m, 16) uint8
                                                                    vectors.npy   (m, d) float32

Each run adds one folder with what was new to it; a folder appears whole or not at all.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

import numpy as np

from penchant.kernel.arrays import F32, U8, open_arrays, readonly, save_arrays
from penchant.kernel.errors import Defect
from penchant.kernel.folders import publish
from penchant.kernel.progress import Progress

_BATCH = 128


@final
class TextCache:
    """The vectors of one encoder."""

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder / _digest(identity).hex()

    def vectors(
        self, texts: Sequence[str], encode: Callable[[Sequence[str]], F32], *, progress: Progress
    ) -> F32:
        """Return the vectors of different ``texts`` (n, d); ``encode`` is asked for those not kept yet."""
        keys = [_digest(text) for text in texts]
        kept = self._kept()
        new = [i for i, key in enumerate(keys) if key not in kept]
        if new:
            progress.start("text", len(new))
            parts: list[F32] = []
            for begin in range(0, len(new), _BATCH):
                batch = new[begin : begin + _BATCH]
                parts.append(encode([texts[i] for i in batch]).astype(np.float32, copy=False))
                progress.advance(len(batch))
            fresh = np.concatenate(parts)
            if len(fresh) != len(new):
                raise Defect(f"an encoder gave {len(fresh)} vectors for {len(new)} texts.")
            self._keep([keys[i] for i in new], fresh)
            kept.update(zip((keys[i] for i in new), fresh, strict=True))
        if not keys:
            return readonly(np.zeros((0, 0), np.float32))
        return readonly(np.stack([kept[key] for key in keys]))

    def _kept(self) -> dict[bytes, F32]:
        found: dict[bytes, F32] = {}
        for folder in sorted(self.folder.glob("[!.]*")):
            arrays = open_arrays(folder)
            found.update(zip(map(bytes, arrays["keys"]), arrays["vectors"], strict=True))
        return found

    def _keep(self, keys: Sequence[bytes], vectors: F32) -> None:
        table: U8 = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)
        with publish(self.folder / _digest(table.tobytes().hex()).hex()) as draft:
            save_arrays(draft, {"keys": table, "vectors": vectors})


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
