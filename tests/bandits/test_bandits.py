"""Policies against slow oracles, enumeration and simulation."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from penchant.bandits.base import choose
from penchant.bandits.beta_race import race
from penchant.bandits.discounted import Counts, EpsilonGreedy, Softmax, Thompson, Ucb1
from penchant.bandits.linear import LinearArms, LinTs, LinUcb, SquareCb
from penchant.bandits.quadrature import beta_best, beta_best_by_panels, normal_best, plackett_luce_ranks
from penchant.kernel.errors import InputError

PLAIN: dict[str, Callable[[int], Counts]] = {
    "epsilon_greedy": EpsilonGreedy,
    "softmax": Softmax,
    "ucb1": Ucb1,
    "thompson": Thompson,
}
LINEAR: dict[str, Callable[[int, int], LinearArms]] = {
    "lin_ucb": LinUcb,
    "lin_ts": LinTs,
    "square_cb": SquareCb,
}


@pytest.mark.parametrize("name", [*PLAIN, *LINEAR])
def test_contract_propensities_are_a_distribution_over_eligible_arms(name: str) -> None:
    rng = np.random.default_rng(0)
    policy = PLAIN[name](6) if name in PLAIN else LINEAR[name](6, 3)
    for step in range(60):
        x = rng.normal(size=3) / 2 if name in LINEAR else None
        eligible = rng.random(6) < 0.7
        eligible[step % 6] = True
        p = policy.propensities(x, eligible=eligible)
        assert p.shape == (6,)
        assert (p >= 0).all()
        assert abs(p.sum() - 1) < 1e-6
        assert (p[~eligible] == 0).all()
        choice = choose(policy, rng, x, eligible=eligible)
        assert choice.propensity == p[choice.arm] > 0
        assert choice.version == step
        policy.update(choice.arm, float(rng.random() < 0.1 * choice.arm), x)
    assert {"propensities", "update", "arrays"} <= set(dir(policy))


@pytest.mark.parametrize("name", [*PLAIN, *LINEAR])
def test_contract_mean_inverse_propensity_is_the_number_of_arms(name: str) -> None:
    rng = np.random.default_rng(1)
    policy = PLAIN[name](4) if name in PLAIN else LINEAR[name](4, 2)
    x = np.array([0.5, -0.5]) if name in LINEAR else None
    for arm in range(4):
        policy.update(arm, 0.25 * arm, x)
    p = policy.propensities(x)
    draws = [choose(policy, rng, x) for _ in range(4000)]
    empirical = np.bincount([d.arm for d in draws], minlength=4) / len(draws)
    assert np.abs(empirical - p).max() < 4 * np.sqrt(0.25 / len(draws))
    if p.min() > 0.01:
        inverse = np.array([1 / d.propensity for d in draws])
        assert abs(inverse.mean() - 4) < 4 * inverse.std() / np.sqrt(len(draws))


@pytest.mark.parametrize("name", [*PLAIN, *LINEAR])
def test_contract_finds_the_arm_that_pays(name: str) -> None:
    rng = np.random.default_rng(2)
    policy = PLAIN[name](5) if name in PLAIN else LINEAR[name](5, 2)
    for _ in range(600):
        x = np.array([1.0, rng.normal() / 4]) if name in LINEAR else None
        arm = choose(policy, rng, x).arm
        policy.update(arm, float(rng.random() < (0.8 if arm == 3 else 0.2)), x)
    x = np.array([1.0, 0.0]) if name in LINEAR else None
    assert policy.propensities(x).argmax() == 3


@pytest.mark.parametrize("name", [*PLAIN, *LINEAR])
def test_contract_refuses_nonsense(name: str) -> None:
    policy = PLAIN[name](3) if name in PLAIN else LINEAR[name](3, 2)
    x = np.zeros(2) if name in LINEAR else None
    with pytest.raises(InputError):
        policy.update(3, 0.5, x)
    with pytest.raises(InputError):
        policy.update(0, float("nan"), x)
    with pytest.raises(InputError):
        policy.propensities(x, eligible=np.zeros(3, np.bool_))
    with pytest.raises(InputError):
        policy.propensities(x, eligible=np.ones(2, np.bool_))


def slow_beta_best(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out = []
    for i in range(len(a)):

        def f(x: float, i: int = i) -> float:
            others = [stats.beta.cdf(x, a[j], b[j]) for j in range(len(a)) if j != i]
            return float(stats.beta.pdf(x, a[i], b[i]) * np.prod(others))

        mode = a[i] / (a[i] + b[i])
        out.append(integrate.quad(f, 0, 1, points=[mode], limit=500, epsabs=1e-11)[0])
    return np.array(out)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1, 1, 1], [1, 1, 1]),
        ([1, 5, 30], [99, 200, 900]),
        ([1.5, 4000, 2], [3.5, 6000, 3]),
        ([300, 310], [700, 690]),
    ],
)
def test_beta_best_agrees_with_adaptive_quadrature(a: list[float], b: list[float]) -> None:
    x, y = np.array(a, float), np.array(b, float)
    slow = slow_beta_best(x, y)
    assert np.abs(beta_best(x, y) - slow).max() < 1e-8
    assert np.abs(beta_best_by_panels(x, y) - slow).max() < 1e-8


def test_the_even_grid_agrees_with_panels() -> None:
    rng = np.random.default_rng(9)
    raced = 0
    for _ in range(25):
        n = int(rng.integers(2, 25))
        a, b = 10 ** rng.uniform(-1, 3, n), 10 ** rng.uniform(-1, 4, n)
        fast = race(a, b)
        if fast is not None:
            raced += 1
            assert np.abs(fast - beta_best_by_panels(a, b)).max() < 1e-8
    assert raced >= 15


@given(st.lists(st.tuples(st.floats(0.05, 1e6), st.floats(0.05, 1e6)), min_size=2, max_size=2))
def test_beta_best_of_two_is_a_mirror(pairs: list[tuple[float, float]]) -> None:
    a, b = (np.array([p[i] for p in pairs]) for i in (0, 1))
    p = beta_best(a, b)
    q = beta_best(b, a)  # 1 - theta: the best becomes the worst
    assert abs(p.sum() - 1) < 1e-9
    assert abs(p[0] - q[1]) < 1e-6


def test_normal_best_of_two_is_known() -> None:
    p = normal_best(np.array([0.3, 0.0]), np.array([1.0, 0.01]))
    assert abs(p[0] - stats.norm.cdf(0.3 / np.hypot(1.0, 0.01))) < 1e-9


def test_plackett_luce_agrees_with_enumeration() -> None:
    weight = np.array([5.0, 0.01, 1.0, 2.0, 0.3])
    exact = np.zeros((5, 5))
    for order in itertools.permutations(range(5)):
        p, left = 1.0, weight.sum()
        for item in order:
            p *= weight[item] / left
            left -= weight[item]
        for rank, item in enumerate(order):
            exact[item, rank] += p
    found = plackett_luce_ranks(weight, 5)
    assert np.abs(found - exact).max() < 1e-8
    assert np.abs(found.sum(axis=1) - 1).max() < 1e-6
    assert np.abs(plackett_luce_ranks(weight, 2) - exact[:, :2]).max() < 1e-8


def test_lin_ucb_decides_as_the_slow_oracle() -> None:
    rng = np.random.default_rng(5)
    policy = LinUcb(7, 5, epsilon=0.0, ridge=0.7)
    a_matrix = np.repeat(np.eye(5)[None] * 0.7, 7, axis=0)
    b_vector = np.zeros((7, 5))
    for _ in range(400):
        x = rng.normal(size=5)
        theta = np.array([np.linalg.solve(a_matrix[i], b_vector[i]) for i in range(7)])
        width = [np.sqrt(x @ np.linalg.solve(a_matrix[i], x)) for i in range(7)]
        expected = int(np.argmax(theta @ x + width))
        assert policy.best(x) == expected
        reward = float(rng.random())
        policy.update(expected, reward, x)
        a_matrix[expected] += np.outer(x, x)
        b_vector[expected] += reward * x


def test_forgetting_follows_its_equation() -> None:
    rng = np.random.default_rng(6)
    policy = LinTs(1, 3, gamma=0.9, ridge=2.0)
    a_matrix, b_vector = 2.0 * np.eye(3), np.zeros(3)
    for _ in range(30):
        x, r = rng.normal(size=3), float(rng.random())
        policy.update(0, r, x)
        a_matrix = 0.9 * a_matrix + 0.1 * 2.0 * np.eye(3) + np.outer(x, x)
        b_vector = 0.9 * b_vector + r * x
    assert np.allclose(policy.theta[0], np.linalg.solve(a_matrix, b_vector), atol=1e-9)


def test_square_cb_gives_the_best_at_least_its_share() -> None:
    policy = SquareCb(4, 1, floor=1.0)
    one = np.ones(1)
    for arm, reward in ((0, 1.0), (1, 0.0), (2, 0.5)):
        policy.update(arm, reward, one)
    p = policy.propensities(one)
    assert p[0] == p.max() >= 0.25
    assert p.min() >= 0.25 - 1e-12  # floor 1 keeps everyone at 1/K


def regret_share(gamma: float, shifts: int, seed: int) -> float:
    """Regret of discounted Thompson over the best arm's reward: 18 arms, 200 batches of 500 pulls."""
    rng = np.random.default_rng(seed)
    policy = Thompson(18, gamma=gamma)
    rates = rng.beta(2, 18, 18)
    lost = total = 0.0
    for batch in range(200):
        if shifts and batch in (67, 134):
            rates = rng.permutation(rates)
        a, b = policy.posterior()
        arms = rng.beta(a, b, (500, 18)).argmax(axis=1)
        pulls = np.bincount(arms, minlength=18).astype(float)
        policy.update_batch(pulls, rng.binomial(pulls.astype(int), rates).astype(float))
        lost += float(500 * rates.max() - pulls @ rates)
        total += float(500 * rates.max())
    return lost / total


def test_discounted_thompson_regret() -> None:
    stationary = np.mean([regret_share(0.99, 0, seed) for seed in range(8)])
    shifting = np.mean([regret_share(0.97, 2, seed) for seed in range(8)])
    assert stationary <= 0.04
    assert shifting <= 0.125
