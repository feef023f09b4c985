"""Amazon's recipes: what answers for each here, as recipes and feeds of a dataset group's penchant.toml."""

import hashlib
import math
from typing import Any, Literal, TypeAlias

from penchant.http.personalize.errors import invalid

Role: TypeAlias = Literal[
    "personal", "similar", "trending", "popular", "ranking", "item affinity", "attribute affinity", "actions"
]

RECIPES: dict[str, Role] = {
    "aws-user-personalization": "personal",
    "aws-user-personalization-v2": "personal",
    "aws-hrnn": "personal",
    "aws-hrnn-coldstart": "personal",
    "aws-hrnn-metadata": "personal",
    "aws-vod-top-picks": "personal",
    "aws-ecomm-recommended-for-you": "personal",
    "aws-similar-items": "similar",
    "aws-sims": "similar",
    "aws-vod-because-you-watched-x": "similar",
    "aws-vod-more-like-x": "similar",
    "aws-ecomm-customers-who-viewed-x-also-viewed": "similar",
    "aws-ecomm-frequently-bought-together": "similar",
    "aws-trending-now": "trending",
    "aws-vod-trending-now": "trending",
    "aws-popularity-count": "popular",
    "aws-vod-most-popular": "popular",
    "aws-ecomm-popular-items-by-purchases": "popular",
    "aws-ecomm-popular-items-by-views": "popular",
    "aws-personalized-ranking": "ranking",
    "aws-personalized-ranking-v2": "ranking",
    "aws-item-affinity": "item affinity",
    "aws-item-attribute-affinity": "attribute affinity",
    "aws-next-best-action": "actions",
}
"""Amazon's recipe -> what answers for it here."""

SEGMENTS: tuple[Role, ...] = ("item affinity", "attribute affinity")
"""Roles that find users and are asked by batch segment jobs only."""

_FREQUENCIES = {"30 minutes": "30m", "1 hour": "1h", "3 hours": "3h", "1 day": "1d"}
_NAME_MOST = 40


def recipe_arn(name: str) -> str:
    """Return the ARN of one of Amazon's recipes."""
    return f"arn:aws:personalize:::recipe/{name}"


def recipe_of(arn: str) -> tuple[str, Role]:
    """Return (Amazon's recipe name, what answers for it).

    Raises:
        AwsError: there is no such recipe; the message names those there are.
    """
    name = arn.rsplit("/", 1)[-1]
    role = RECIPES.get(name)
    if role is None:
        raise invalid(f"There is no recipe {name[:100]}. Known: {', '.join(sorted(RECIPES))}.")
    return name, role


def plain_name(path: str) -> str:
    """Return the name in penchant.toml of what a resource trains or serves; other paths, other names."""
    digest = hashlib.blake2b(path.encode(), digest_size=6).hexdigest()
    return f"{path.split('/')[1][:_NAME_MOST]}-{digest}"


def recipes_for(model: str, role: Role, config: dict[str, Any], event_type: str | None) -> dict[str, Any]:
    """Return the ``[recipes]`` of one solution version, under names that begin with ``model``.

    Raises:
        AwsError: the trend discovery frequency is not one of Amazon's four.
    """
    if role in SEGMENTS:
        return {model: {"recipe": "ials"}}
    if role == "actions":
        return {model: {"recipe": "next_best_action", "period_days": _period(config)}}
    popular: dict[str, Any] = {"recipe": "popularity"}
    if event_type is not None:
        popular["event_types"] = [event_type]
    recipes: dict[str, Any] = {_popular(model): popular}
    if role == "trending":
        recipes[model] = {"recipe": "trending", "discovery_frequency": _frequency(config)}
    elif role == "similar":
        recipes[model] = {"recipe": "item_knn", **_neighbours(config)}
    elif role != "popular":
        recipes[model] = {"recipe": "ials"}
    return recipes


def _neighbours(config: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of SIMS by our names."""
    asked = config.get("algorithmHyperParameters") or {}
    if not isinstance(asked, dict):
        raise invalid("algorithmHyperParameters must be an object of texts.")
    return {
        "popularity_discount": _number(asked, "popularity_discount_factor", 0.5, most=1.0),
        "min_co_counts": int(_number(asked, "min_cointeraction_count", 3.0, least=1.0)),
    }


def _popular(model: str) -> str:
    return f"{model}__popular"


def _period(config: dict[str, Any]) -> float:
    """Return the action optimization period in days."""
    parameters = config.get("featureTransformationParameters") or {}
    if not isinstance(parameters, dict):
        raise invalid("featureTransformationParameters must be an object of texts.")
    return _number(parameters, "action_optimization_period", 14.0, least=1.0, most=365.0)


def _frequency(config: dict[str, Any]) -> str:
    parameters = config.get("featureTransformationParameters")
    asked: object = "3 hours"
    if isinstance(parameters, dict):
        asked = parameters.get("trend_discovery_frequency", asked)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - checked below
    if not isinstance(asked, str) or asked not in _FREQUENCIES:
        raise invalid(f"trend_discovery_frequency '{asked}' is not one of {', '.join(_FREQUENCIES)}.")
    return _FREQUENCIES[asked]


def feed_for(model: str, role: Role, exploration: object = None, *, logged: bool = True) -> dict[str, Any]:
    """Return the ``[feeds]`` table that serves a solution version.

    ``exploration`` is an itemExplorationConfig: explorationWeight (.3) and explorationItemAgeCutOff in days
    (30).

    Raises:
        AwsError: one of them is not a number in its range.
    """
    source = {"popular": _popular(model), "similar": f"similar:{model}"}.get(role, model)
    feed: dict[str, Any] = {
        "blocks": [{"source": source}],
        "rules": [],
        "fallback": _popular(model),
        "log_served": logged,
    }
    explore = _explore(exploration)
    return {**feed, "explore": explore} if role == "personal" else feed


def actions_for(model: str, exploration: object = None) -> dict[str, Any]:
    """Return the ``[actions]`` table that serves a solution version; ``exploration`` as in `feed_for`.

    Raises:
        AwsError: one of its numbers is not in its range.
    """
    return {"recipe": model, "explore": _explore(exploration)}


def _explore(exploration: object) -> dict[str, Any]:
    asked = exploration if exploration is not None else {}
    if not isinstance(asked, dict):
        raise invalid("itemExplorationConfig must be an object of texts.")
    return {
        "weight": _number(asked, "explorationWeight", 0.3, most=1.0),
        "age_cut_off_days": _number(asked, "explorationItemAgeCutOff", 30.0, least=1e-3),
    }


def _number(
    config: dict[Any, Any], name: str, default: float, *, least: float = 0.0, most: float = 1e6
) -> float:
    try:
        value = float(config.get(name, default))
    except (TypeError, ValueError):
        value = math.nan
    if not least <= value <= most:
        raise invalid(f"{name} must be a number from {least:g} to {most:g}.")
    return value
