"""The search of `penchant tune`: optuna's tree of Parzen estimators, seeded (Bergstra et al. 2011)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penchant.evaluation.tuning import Choice, Space, Trial
from penchant.kernel.errors import InputError
from penchant.kernel.progress import Progress, Silent


def search_optuna(
    objective: Callable[[Mapping[str, Any]], float],
    space: Space,
    *,
    trials: int,
    seed: int,
    first: Sequence[Mapping[str, Any]] = (),
    progress: Progress | None = None,
) -> list[Trial]:
    """Maximise as `penchant.evaluation.tuning.search` does.

    ``first`` may hold values outside of the ranges, such as a user's own settings: they are tried as they
    are and told to the sampler only where every one of them lies inside.

    Raises:
        InputError: there is no trial, nothing to search, or optuna is not installed.
    """
    if trials < 1 or not space:
        raise InputError(
            f"cannot search {len(space)} fields in {trials} trials.", fix="Give at least one each."
        )
    try:
        import optuna
    except ImportError as error:
        raise InputError("tuning needs optuna.", fix="pip install 'penchant[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {name: _distribution(optuna, part) for name, part in space.items()}
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    shown = progress or Silent()
    shown.start("tune", trials)
    done: list[Trial] = []
    for number in range(trials):
        if number < len(first):
            fields = dict(first[number])
            value = objective(fields)
            if all(_inside(space[name], fields[name]) for name in space):
                study.add_trial(
                    optuna.trial.create_trial(params=fields, distributions=distributions, value=value)
                )
        else:
            asked = study.ask(distributions)
            fields = dict(asked.params)
            value = objective(fields)
            study.tell(asked, value)
        done.append(Trial(fields=fields, value=value))
        shown.advance(note=f"best {max(trial.value for trial in done):.4f}")
    return sorted(done, key=lambda trial: -trial.value)


def _distribution(optuna: Any, part: Any) -> Any:
    if isinstance(part, Choice):
        return optuna.distributions.CategoricalDistribution(part.values)
    return optuna.distributions.FloatDistribution(part.low, part.high, log=part.log)


def _inside(part: Any, value: Any) -> bool:
    return value in part.values if isinstance(part, Choice) else part.low <= value <= part.high
