"""What somebody is about to type: words from a vector, for a search box that knows the session.

A word w has weights β_w so that log p(w | x) ∝ x β_w + log p(w), fitted by ridge regression of each word's
lift over its own frequency on the vectors of the items whose text has it:

    β = (Xᵀ X + λ I)⁻¹ Xᵀ Y        Y_iw = (1[w in text of i] - p_w) / √p_w
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from penchant.kernel.arrays import F32, readonly

_WORD = re.compile(r"[^\W\d_]{2,}")


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, digits and single letters left out."""
    return _WORD.findall(text.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class WordDecoder:
    """Words in ascending order, with what their vectors say."""

    words: tuple[str, ...]
    weights: F32  # (d, n_words)
    share: F32  # (n_words,) part of the items that have the word

    @classmethod
    def fit(cls, vectors: F32, texts: Sequence[str], *, ridge: float = 10.0, least: int = 3) -> "WordDecoder":
        """Learn from items with vectors (n, d); words of fewer than ``least`` items are left out."""
        has = np.flatnonzero(vectors.any(axis=1))
        bags = [set(words_of(texts[i])) for i in has.tolist()]
        counts: dict[str, int] = {}
        for bag in bags:
            for word in bag:
                counts[word] = counts.get(word, 0) + 1
        words = tuple(sorted(word for word, n in counts.items() if n >= least))
        place = {word: j for j, word in enumerate(words)}
        share = np.array([counts[word] for word in words]) / max(len(has), 1)
        present = np.zeros((len(has), len(words)), np.float32)
        for i, bag in enumerate(bags):
            present[i, [place[word] for word in bag if word in place]] = 1
        x = vectors[has].astype(np.float64)
        lift = (present - share) / np.sqrt(np.maximum(share, 1e-12))
        weights = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ lift)
        return cls(
            words=words,
            weights=readonly(weights.astype(np.float32)),
            share=readonly(share.astype(np.float32)),
        )

    def complete(self, vector: F32, prefix: str = "", k: int = 10) -> list[tuple[str, float]]:
        """Return the k words most likely to be meant, best first, that begin with ``prefix``.

        A vector of zeros gives the most frequent ones.
        """
        # The expected part of the items near the vector that have the word; ties in the order of the words.
        score = self.share + np.sqrt(self.share) * (vector @ self.weights)
        begins = np.array([word.startswith(prefix.lower()) for word in self.words], np.bool_)
        rows = np.flatnonzero(begins)
        best = rows[np.argsort(-score[rows], kind="stable")][:k]
        return [(self.words[i], float(score[i])) for i in best.tolist()]
