"""The kinds of resources: how each is named in ARNs, requests and answers, and what a listing shows of it."""

import math
from dataclasses import dataclass
from typing import Any

from penchant.http.personalize.errors import invalid
from penchant.http.personalize.store import Resource

ACTIVE, PENDING, IN_PROGRESS, FAILED = "ACTIVE", "CREATE PENDING", "CREATE IN_PROGRESS", "CREATE FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind. ``summary`` are fields of its own that a listing shows; ``by`` what it is listed by."""

    path: str
    body: str
    listed: str
    name: str = "name"
    summary: tuple[str, ...] = ()
    by: str | None = None
    has_status: bool = True
    has_failure: bool = True  # whether a listing and a description can say why it failed
    needed_by: tuple[tuple[str, str], ...] = ()  # (kind, field): what must be deleted before it

    @property
    def arn(self) -> str:
        """Return the name of its ARN in requests and answers."""
        return f"{self.body}Arn"

    def describe(self, resource: Resource) -> dict[str, Any]:
        """Return all that is told of a resource, in the service model's names."""
        private = {name: value for name, value in resource.fields.items() if not name.startswith("_")}
        return {**self._common(resource), **private}

    def summarise(self, resource: Resource) -> dict[str, Any]:
        """Return what a listing tells of a resource."""
        own = {name: resource.fields[name] for name in self.summary if name in resource.fields}
        return {**self._common(resource), **own}

    def _common(self, resource: Resource) -> dict[str, Any]:
        told: dict[str, Any] = {
            self.name: resource.name,
            self.arn: resource.arn,
            "creationDateTime": resource.created,
            "lastUpdatedDateTime": resource.updated,
        }
        if self.has_status:
            told["status"] = resource.status
        if self.has_failure and resource.failure is not None:
            told["failureReason"] = resource.failure
        return told


KINDS: dict[str, Kind] = {
    "Schema": Kind(
        path="schema",
        body="schema",
        listed="schemas",
        has_status=False,
        has_failure=False,
        needed_by=(("dataset", "schemaArn"),),
    ),
    "DatasetGroup": Kind(
        path="dataset-group",
        body="datasetGroup",
        listed="datasetGroups",
        needed_by=(
            ("dataset", "datasetGroupArn"),
            ("solution", "datasetGroupArn"),
            ("recommender", "datasetGroupArn"),
            ("event-tracker", "datasetGroupArn"),
            ("filter", "datasetGroupArn"),
        ),
    ),
    "Dataset": Kind(
        path="dataset",
        body="dataset",
        listed="datasets",
        summary=("datasetType",),
        by="datasetGroupArn",
        has_failure=False,
    ),
    "DatasetImportJob": Kind(
        path="dataset-import-job",
        body="datasetImportJob",
        listed="datasetImportJobs",
        name="jobName",
        summary=("importMode",),
        by="datasetArn",
    ),
    "Solution": Kind(
        path="solution",
        body="solution",
        listed="solutions",
        summary=("recipeArn",),
        by="datasetGroupArn",
        has_failure=False,
        needed_by=(("campaign", "_solutionArn"),),
    ),
    "SolutionVersion": Kind(
        path="solution-version",
        body="solutionVersion",
        listed="solutionVersions",
        summary=("trainingMode", "trainingType"),
        by="solutionArn",
    ),
    "Campaign": Kind(path="campaign", body="campaign", listed="campaigns", by="solutionArn"),
    "Recommender": Kind(
        path="recommender",
        body="recommender",
        listed="recommenders",
        summary=("datasetGroupArn", "recipeArn", "recommenderConfig"),
        by="datasetGroupArn",
        has_failure=False,
    ),
    "Filter": Kind(
        path="filter", body="filter", listed="Filters", summary=("datasetGroupArn",), by="datasetGroupArn"
    ),
    "EventTracker": Kind(
        path="event-tracker",
        body="eventTracker",
        listed="eventTrackers",
        by="datasetGroupArn",
        has_failure=False,
    ),
}

_PERSONAL, _SIMILAR, _TRENDING, _POPULAR, _RANKING = "personal", "similar", "trending", "popular", "ranking"

RECIPES: dict[str, str] = {
    "aws-user-personalization": _PERSONAL,
    "aws-user-personalization-v2": _PERSONAL,
    "aws-hrnn": _PERSONAL,
    "aws-hrnn-coldstart": _PERSONAL,
    "aws-hrnn-metadata": _PERSONAL,
    "aws-vod-top-picks": _PERSONAL,
    "aws-ecomm-recommended-for-you": _PERSONAL,
    "aws-similar-items": _SIMILAR,
    "aws-sims": _SIMILAR,
    "aws-vod-because-you-watched-x": _SIMILAR,
    "aws-vod-more-like-x": _SIMILAR,
    "aws-ecomm-customers-who-viewed-x-also-viewed": _SIMILAR,
    "aws-ecomm-frequently-bought-together": _SIMILAR,
    "aws-trending-now": _TRENDING,
    "aws-vod-trending-now": _TRENDING,
    "aws-popularity-count": _POPULAR,
    "aws-vod-most-popular": _POPULAR,
    "aws-ecomm-popular-items-by-purchases": _POPULAR,
    "aws-ecomm-popular-items-by-views": _POPULAR,
    "aws-personalized-ranking": _RANKING,
    "aws-personalized-ranking-v2": _RANKING,
}
"""Amazon's recipe -> what answers for it here."""

_INSTEAD = {
    "aws-item-affinity": "use `penchant audience` on a seed list",
    "aws-item-attribute-affinity": "use `penchant audience` on a seed list",
    "aws-next-best-action": "use a feed over items that stand for the actions",
}


def recipe_of(arn: str) -> tuple[str, str]:
    """Return (Amazon's recipe name, what answers for it).

    Raises:
        AwsError: there is no such recipe, or it is not supported; the message names the alternative.
    """
    name = arn.rsplit("/", 1)[-1]
    if name in _INSTEAD:
        raise invalid(f"The recipe {name} is not supported: {_INSTEAD[name]}.")
    role = RECIPES.get(name)
    if role is None:
        raise invalid(f"There is no recipe {name}. Known: {', '.join(sorted(RECIPES))}.")
    return name, role


_FREQUENCIES = {"30 minutes": "30m", "1 hour": "1h", "3 hours": "3h", "1 day": "1d"}


def recipes_for(solution: str, role: str, config: dict[str, Any], event_type: str | None) -> dict[str, Any]:
    """Return the ``[recipes]`` that a solution trains, under names that begin with the solution's.

    Raises:
        AwsError: the trend discovery frequency is not one of Amazon's four.
    """
    popular: dict[str, Any] = {"recipe": "popularity"}
    if event_type is not None:
        popular["event_types"] = [event_type]
    recipes: dict[str, Any] = {f"{solution}__popular": popular}
    if role == _TRENDING:
        asked = config.get("featureTransformationParameters", {}).get("trend_discovery_frequency", "3 hours")
        if asked not in _FREQUENCIES:
            raise invalid(f"trend_discovery_frequency '{asked}' is not one of {', '.join(_FREQUENCIES)}.")
        recipes[solution] = {"recipe": "trending", "discovery_frequency": _FREQUENCIES[asked]}
    elif role != _POPULAR:
        recipes[solution] = {"recipe": "ials"}
    return recipes


def feed_for(solution: str, role: str, exploration: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the ``[feeds]`` table that a solution is served by.

    ``exploration`` is a campaign's itemExplorationConfig: explorationWeight (.3) and
    explorationItemAgeCutOff in days (30).

    Raises:
        AwsError: one of them is not a number in its range.
    """
    popular = f"{solution}__popular"
    source = {_POPULAR: popular, _SIMILAR: f"similar:{solution}"}.get(role, solution)
    feed: dict[str, Any] = {"blocks": [{"source": source}], "rules": [], "fallback": popular}
    if role == _PERSONAL:
        asked = exploration or {}
        feed["explore"] = {
            "weight": _float(asked, "explorationWeight", 0.3, most=1.0),
            "age_cut_off_days": _float(asked, "explorationItemAgeCutOff", 30.0, least=1e-3),
        }
    return feed


def _float(
    config: dict[str, str], name: str, default: float, *, least: float = 0.0, most: float = 1e6
) -> float:
    try:
        value = float(config.get(name, default))
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise invalid(f"{name} must be a number from {least:g} to {most:g}.")
    return value
