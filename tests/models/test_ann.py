"""Approximate indexes: the contracts, recall measured and refused, factories, a missing extra in one line."""

import builtins
from typing import ClassVar

import numpy as np
import pytest

from penchant.kernel.errors import InputError, NotReady
from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.ann import Ann, AnnModel, Approximate
from penchant.models.base import Query
from penchant.models.index import ExactIndex
from penchant.testing.contracts import PersonalContract, SimilarContract
from penchant.testing.data import random_snapshot

pytest.importorskip("faiss", reason="the extra ann is not installed")
SMALL = {"factors": 8, "epochs": 8}


class TestContract(PersonalContract, SimilarContract):
    recipe: ClassVar = Ann(config=SMALL, exact_below=0)
    model_type: ClassVar = AnnModel


class TestContractOfProd2vec(SimilarContract):
    recipe: ClassVar = Ann(
        factors="prod2vec", config={"min_count": 1, "patience": 0, "session_gap": "2d"}, exact_below=0
    )
    model_type: ClassVar = AnnModel


def train(recipe: Ann) -> AnnModel:
    return recipe.train(random_snapshot(1), rng=derive(3), progress=Silent())


def test_few_items_are_answered_exactly() -> None:
    model = train(Ann(config=SMALL))
    assert model.approximate is None
    assert "recall_at_100" not in model.card.metrics


def test_recall_is_on_the_card() -> None:
    model = train(Ann(config=SMALL, exact_below=0))
    assert model.card.metrics["recall_at_100"] >= 0.98
    graph = train(Ann(config=SMALL, exact_below=0, factory="HNSW8", least_recall=0.5))
    assert 0.5 <= graph.card.metrics["recall_at_100"] < 1
    assert any("HNSW8" in note for note in graph.card.notes)


def test_recall_is_the_part_of_the_exact_best_that_is_found() -> None:
    rng = np.random.default_rng(1)
    exact = ExactIndex.build(rng.normal(size=(5000, 16)).astype(np.float32))
    index = Approximate.build(exact.factors, "IVF64,Flat")  # looks into one of 64 lists alone
    queries = rng.normal(size=(20, 16)).astype(np.float32)
    wanted = [set(exact.top(q, 100).items.tolist()) for q in queries]
    found = [set(exact.rows[near[near >= 0]].tolist()) for near in index.near(queries, 150)]
    expected = np.mean([len(w & f) / 100 for w, f in zip(wanted, found, strict=True)])
    assert index.recall(exact, queries, 50) == pytest.approx(expected)
    assert 0.02 < expected < 0.6
    sure = Approximate.build(exact.factors, "SQ8")
    assert sure.recall(exact, queries, 50) > 0.999


def test_a_low_recall_is_refused_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Approximate, "recall", lambda *_: 0.9)
    with pytest.raises(InputError, match=r"recall@100 of the index 'SQ8' is 0\.9000, below 0\.98"):
        train(Ann(config=SMALL, exact_below=0))
    assert train(Ann(config=SMALL, exact_below=0, least_recall=0.8)).card.metrics["recall_at_100"] == 0.9


def test_excluded_items_do_not_eat_into_the_answer() -> None:
    model = train(Ann(config=SMALL, exact_below=0, rerank=0))
    best = model.inner.top(Query(user=3), 30).items
    got = model.top(Query(user=3), 5, exclude=best[:20])
    assert got.items.tolist() == best[20:25].tolist()


def test_an_unknown_factory_is_refused() -> None:
    with pytest.raises(InputError, match="faiss cannot build 'Nonsense'"):
        train(Ann(config=SMALL, exact_below=0, factory="Nonsense"))


def test_a_missing_extra_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *args: object, **kwargs: object) -> object:
        if name == "faiss":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(NotReady, match=r"pip install 'penchant\[ann\]'") as caught:
        train(Ann(config=SMALL, exact_below=0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("field", "value"), [("least_recall", 1.5), ("rerank", -1), ("config", {"no": 1})])
def test_wrong_values_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        Ann(**{field: value})
