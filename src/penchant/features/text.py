"""What the text of items says, as one vector an item: TF-IDF and SVD from the core, or a sentence encoder.

    tfidf    words and word pairs, (1 + log count) x (1 + log((1 + n) / (1 + n_w))), rows of unit length,
             projected on d right singular vectors (latent semantic analysis, Deerwester et al. 1990)
    others   an encoder's own vectors, of unit length; kept on disk by the content of the text

A text that appears twice has the same vector twice. An item without text has zeros.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import Meta
from threadpoolctl import threadpool_limits

from penchant.data.snapshot import Snapshot
from penchant.features.text_cache import TextCache
from penchant.features.text_encoders import encoder_of
from penchant.kernel.arrays import F32, readonly
from penchant.kernel.arrow import ArrowColumn, ArrowTable, pc
from penchant.kernel.errors import InputError
from penchant.kernel.names import did_you_mean
from penchant.kernel.progress import Progress, Silent

TFIDF = "tfidf"
_WORDS = 50_000
_RARE = 2  # a word of one item alone says nothing about another


class TextSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[text]``: the items' ``columns`` read as one text, and what turns it into a vector.

    ``encoder`` is ``tfidf``, the name of a sentence encoder (see `text_encoders.NAMED`) or the folder of a
    model2vec model. ``dimensions`` are those of TF-IDF; an encoder has its own.
    """

    columns: list[str] = []
    encoder: str = TFIDF
    dimensions: Annotated[int, Meta(ge=2, le=1024)] = 256


def with_text(
    snapshot: Snapshot, settings: TextSettings, *, cache: Path, progress: Progress | None = None
) -> Snapshot:
    """Return the snapshot with the vectors of its items' text, the same one when no column is named.

    ``cache`` is a folder where what an encoder gave is kept; TF-IDF depends on all texts and is made anew.

    Raises:
        InputError: a column does not exist, or the encoder does not.
        NotReady: the encoder's package is not installed.
    """
    if not settings.columns:
        return snapshot
    texts = texts_of(snapshot.item_table, settings.columns)
    distinct = sorted({text for text in texts if text})
    if settings.encoder == TFIDF:
        vectors = tfidf(distinct, settings.dimensions)
    else:
        encoder = encoder_of(settings.encoder)
        vectors = TextCache(cache, encoder.identity).vectors(
            distinct, encoder.encode, progress=Silent() if progress is None else progress
        )
    place = {text: i for i, text in enumerate(distinct, start=1)}
    rows = np.array([place.get(text, 0) for text in texts], np.int64)
    padded = np.concatenate([np.zeros((1, vectors.shape[1]), np.float32), vectors])
    return snapshot.with_text(readonly(padded[rows]))


def texts_of(table: ArrowTable, columns: Sequence[str]) -> list[str]:
    """Return the columns of each row as one text, in their order; lists word by word, missing as nothing.

    Raises:
        InputError: there is no such column.
    """
    parts: list[ArrowColumn] = []
    for name in columns:
        if name not in table.column_names:
            raise InputError(
                f"items have no column '{name}'.",
                where="[text] columns",
                fix=did_you_mean(name, table.column_names[1:]),
            )
        parts.append(_as_text(table[name].combine_chunks()))
    joined = pc.binary_join_element_wise(*parts, " ", null_handling="skip") if len(parts) > 1 else parts[0]
    return [" ".join(text.split()) if text else "" for text in joined.to_pylist()]


def tfidf(texts: Sequence[str], dimensions: int) -> F32:
    """Return the vectors of different ``texts``: (n, d), d at most ``dimensions`` and at most n - 1.

    The same texts give the same bytes.
    """
    rare = _RARE if len(texts) > 20 else 1
    from sklearn.feature_extraction.text import TfidfVectorizer  # heavy: only here

    make: Any = TfidfVectorizer
    counter = make(
        sublinear_tf=True, ngram_range=(1, 2), min_df=rare, max_features=_WORDS, strip_accents="unicode"
    )
    try:
        matrix = counter.fit_transform(texts)
    except ValueError:  # no word is in two texts, or there is no word
        return readonly(np.zeros((len(texts), 0), np.float32))
    d = min(dimensions, min(matrix.shape) - 1)
    if d < 1:
        return readonly(matrix.toarray().astype(np.float32))
    from sklearn.utils.extmath import randomized_svd  # heavy: only here

    svd: Any = randomized_svd
    with threadpool_limits(1):  # the sum of a product depends on how many threads share it
        _, _, components = svd(matrix, d, n_iter=5, random_state=0)
        return readonly((matrix @ components.T).astype(np.float32))


def _as_text(column: ArrowColumn) -> ArrowColumn:
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pc.binary_join(column.cast(pa.list_(pa.string())), " ")
    return column.cast(pa.string())
