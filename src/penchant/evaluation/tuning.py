"""A small seeded search over a recipe's fields, on the validation part only, with a stated budget.

The first half of the trials is drawn at random (Bergstra & Bengio 2012), the second half near the best so
far. A peer is searched by the same function with the same number of trials, so that a comparison is of
recipes and not of the effort spent on them.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from numpy.random import Generator

from penchant.data.splits import Split
from penchant.evaluation.metrics import accuracy
from penchant.evaluation.protocols import answers, checked
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Progress, Silent
from penchant.models.base import Recipe, Retriever
from penchant.models.measure import train_measured

_NEAR = 0.15  # a step near the best: this share of the range, one standard deviation


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of a few values, in their natural order if they have one."""

    values: tuple[Any, ...]

    def draw(self, rng: Generator) -> Any:
        """Draw any."""
        return self.values[int(rng.integers(len(self.values)))]

    def near(self, value: Any, rng: Generator) -> Any:
        """Draw a neighbour of ``value``, any where it is none of them."""
        if value not in self.values:
            return self.draw(rng)
        at = self.values.index(value) + int(rng.choice((-1, 1)))
        return self.values[min(max(at, 0), len(self.values) - 1)]


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number between two, evenly or, with ``log``, evenly in its logarithm."""

    low: float
    high: float
    log: bool = True

    def __post_init__(self) -> None:
        if not (self.low < self.high and (self.low > 0 or not self.log)):
            raise ValueError(f"low {self.low} must be below high {self.high}, and above 0 when log is on.")

    def draw(self, rng: Generator) -> float:
        """Draw any."""
        return self._at(float(rng.random()))

    def near(self, value: float, rng: Generator) -> float:
        """Draw close to ``value``, or to the end it lies beyond, inside the range."""
        value = min(max(value, self.low), self.high)
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        place = ((math.log(value) if self.log else value) - low) / (high - low)
        return self._at(min(1.0, max(0.0, place + float(rng.normal(0, _NEAR)))))

    def _at(self, place: float) -> float:
        if self.log:
            return math.exp(math.log(self.low) + place * math.log(self.high / self.low))
        return self.low + place * (self.high - self.low)


Space: TypeAlias = Mapping[str, Choice | Range]


class Trial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Some fields and what they reached."""

    fields: dict[str, Any]
    value: float


def search(
    objective: Callable[[Mapping[str, Any]], float],
    space: Space,
    *,
    trials: int,
    rng: Generator,
    first: Sequence[Mapping[str, Any]] = (),
    progress: Progress | None = None,
) -> list[Trial]:
    """Maximise ``objective`` over ``space`` in exactly ``trials`` calls; return them best first.

    ``first`` are complete sets of fields to try before anything is drawn, such as the defaults; they count.

    Raises:
        InputError: there is no trial or nothing to search.
    """
    if trials < 1 or not space:
        raise InputError(
            f"cannot search {len(space)} fields in {trials} trials.", fix="Give at least one each."
        )
    shown = progress or Silent()
    shown.start("search", trials)
    done: list[Trial] = []
    for number in range(trials):
        if number < len(first):
            fields = dict(first[number])
        elif number < (trials + len(first)) / 2 or not done:
            fields = {name: part.draw(rng) for name, part in space.items()}
        else:
            fields = _beside(max(done, key=lambda trial: trial.value).fields, space, rng)
        done.append(Trial(fields=fields, value=objective(fields)))
        shown.advance(note=f"best {max(trial.value for trial in done):.4f}")
    return sorted(done, key=lambda trial: -trial.value)


def _beside(best: Mapping[str, Any], space: Space, rng: Generator) -> dict[str, Any]:
    """Return the best with about half of its fields moved a little."""
    names = list(space)
    moved = [name for name in names if rng.random() < 0.5] or [names[int(rng.integers(len(names)))]]
    return {name: space[name].near(best[name], rng) if name in moved else best[name] for name in names}


def grid(space: Mapping[str, Choice]) -> list[dict[str, Any]]:
    """Return every combination of the choices, the last field changing fastest: the ``first`` of a full
    grid."""
    return [
        dict(zip(space, values, strict=True))
        for values in itertools.product(*(c.values for c in space.values()))
    ]


def tune(
    recipe: Recipe,
    space: Space,
    validation: Split,
    *,
    trials: int,
    rng: Generator,
    metric: str = "ndcg_at_10",
    seed: int = 42,
    first: Sequence[Mapping[str, Any]] = (),
    progress: Progress | None = None,
) -> list[Trial]:
    """Search fields of ``recipe`` (a msgspec struct) for the best ``metric`` on ``validation``."""
    objective = reached_by(recipe, validation, metric=metric, seed=seed)
    return search(objective, space, trials=trials, rng=rng, first=first, progress=progress)


def reached_by(
    recipe: Recipe, validation: Split, *, metric: str, seed: int
) -> Callable[[Mapping[str, Any]], float]:
    """Return the function that trains ``recipe`` with other fields and measures it on ``validation``."""
    k = int(metric.rpartition("_")[2])

    def reached(fields: Mapping[str, Any]) -> float:
        changed = msgspec.structs.replace(recipe, **fields)  # pyright: ignore[reportArgumentType]  every recipe is a struct
        model = train_measured(changed, validation.train, seed=seed, progress=Silent())
        if not isinstance(model, Retriever):
            raise InputError(f"'{recipe.name}' gives no items, so it cannot be tuned on '{metric}'.")
        lists = checked(recipe.name, answers(model, validation, k), validation, k)
        return float(accuracy(lists, validation.truth, [k])[metric].mean())

    return reached
