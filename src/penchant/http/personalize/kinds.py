"""The kinds of resources: how each is named in ARNs, requests and answers, and what a listing shows of it."""

from dataclasses import dataclass
from typing import Any

from penchant.http.personalize.store import Resource

ACTIVE, INACTIVE, FAILED = "ACTIVE", "INACTIVE", "CREATE FAILED"
PENDING, IN_PROGRESS = "CREATE PENDING", "CREATE IN_PROGRESS"


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
    can_delete: bool = True
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
            ("metric-attribution", "datasetGroupArn"),
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
        can_delete=False,
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
        can_delete=False,
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
    "BatchInferenceJob": Kind(
        path="batch-inference-job",
        body="batchInferenceJob",
        listed="batchInferenceJobs",
        name="jobName",
        summary=("solutionVersionArn", "batchInferenceJobMode"),
        by="solutionVersionArn",
        can_delete=False,
    ),
    "BatchSegmentJob": Kind(
        path="batch-segment-job",
        body="batchSegmentJob",
        listed="batchSegmentJobs",
        name="jobName",
        summary=("solutionVersionArn",),
        by="solutionVersionArn",
        can_delete=False,
    ),
    "DataDeletionJob": Kind(
        path="data-deletion-job",
        body="dataDeletionJob",
        listed="dataDeletionJobs",
        name="jobName",
        summary=("datasetGroupArn",),
        by="datasetGroupArn",
        can_delete=False,
    ),
    "MetricAttribution": Kind(
        path="metric-attribution",
        body="metricAttribution",
        listed="metricAttributions",
        by="datasetGroupArn",
    ),
}
"""The name in an operation -> the kind."""
