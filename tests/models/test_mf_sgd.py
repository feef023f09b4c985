"""Factorisation by gradients: the gradients themselves, that they learn, and the contract."""

import numpy as np
import pytest

from penchant.kernel.progress import Silent
from penchant.kernel.seeds import derive
from penchant.models.mf_sgd import Bpr, MfModel, MfSgd
from penchant.models.mf_sgd_kernels import BPR, LOGISTIC, SOFTMAX, draw, pushes
from penchant.testing.contracts import PersonalContract, SimilarContract
from penchant.testing.data import random_snapshot


class TestBpr(PersonalContract, SimilarContract):
    recipe = Bpr(factors=8, epochs=40, rate=0.1, regularization=0.001)
    model_type = MfModel


class TestSoftmax(PersonalContract, SimilarContract):
    recipe = MfSgd(factors=8, epochs=40, rate=0.1, regularization=0.001, negatives=8)
    model_type = MfModel


class TestLogistic(PersonalContract, SimilarContract):
    recipe = MfSgd(loss="logistic", factors=8, epochs=60, rate=0.1, regularization=0.001, negatives=4)
    model_type = MfModel


@pytest.mark.parametrize("loss", [BPR, LOGISTIC, SOFTMAX])
def test_pushes_are_minus_the_gradient(loss: int) -> None:
    """Against a difference quotient of the loss itself."""
    score = np.random.default_rng(loss).normal(0, 1, 5)
    push, spare, tiny = np.zeros(5), np.zeros(5), 1e-6
    pushes(score, push, 4, loss)
    for a in range(5):
        up, down = score.copy(), score.copy()
        up[a] += tiny
        down[a] -= tiny
        slope = (pushes(up, spare, 4, loss) - pushes(down, spare, 4, loss)) / (2 * tiny)
        assert push[a] == pytest.approx(-slope, abs=1e-6)


def test_random_bits_are_spread_evenly() -> None:
    state = np.array([88172645463325252])
    drawn = np.array([draw(state) % 10 for _ in range(20_000)])
    assert np.abs(np.bincount(drawn, minlength=10) / 2_000 - 1).max() < 0.1


@pytest.mark.parametrize("recipe", [Bpr(epochs=1), MfSgd(epochs=1), MfSgd(epochs=1, loss="logistic")])
def test_more_epochs_lower_the_loss_and_a_warm_start_continues(recipe: Bpr | MfSgd) -> None:
    snapshot = random_snapshot(3)
    kind = type(recipe)
    fields = {name: getattr(recipe, name) for name in recipe.__struct_fields__}

    def loss(epochs: int, previous: MfModel | None = None) -> tuple[MfModel, float]:
        again = kind(**{**fields, "epochs": epochs})
        model = again.train(snapshot, rng=derive(0), progress=Silent(), previous=previous)
        return model, model.card.metrics["loss"]

    first, cold = loss(1)
    assert loss(20)[1] < cold
    assert loss(1, first)[1] < cold


@pytest.mark.parametrize(("field", "value"), [("factors", 0), ("rate", 0.0), ("negatives", 0), ("epochs", 0)])
def test_a_wrong_value_is_refused_by_its_name(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        MfSgd(**{field: value})  # pyright: ignore[reportArgumentType]  wrong on purpose
