"""The requests of the control plane, field for field as clients send them, and who may send them."""

from typing import Annotated, Any, Literal, final

import msgspec
from msgspec import Meta

from penchant.http.personalize.errors import AwsError, invalid


class Asked(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A request. Fields that change nothing here, such as tags and encryption keys, are read and ignored."""


class CreateSchema(Asked, frozen=True, kw_only=True):
    """Avro schema of a dataset."""

    name: str
    schema: str
    domain: str | None = None


class CreateDatasetGroup(Asked, frozen=True, kw_only=True):
    """A workspace of its own."""

    name: str
    domain: str | None = None


class CreateDataset(Asked, frozen=True, kw_only=True):
    """One of the tables of a group."""

    name: str
    schema_arn: str
    dataset_group_arn: str
    dataset_type: str


class DataSource(Asked, frozen=True, kw_only=True):
    """Where the files of an import are."""

    data_location: str


class CreateDatasetImportJob(Asked, frozen=True, kw_only=True):
    """An import of files into a dataset."""

    job_name: str
    dataset_arn: str
    data_source: DataSource
    role_arn: str | None = None
    import_mode: Literal["FULL", "INCREMENTAL"] = "FULL"


class CreateSolution(Asked, frozen=True, kw_only=True):
    """What is to be trained."""

    name: str
    dataset_group_arn: str
    recipe_arn: str | None = None
    event_type: str | None = None
    perform_auto_ml: bool = msgspec.field(default=False, name="performAutoML")
    perform_hpo: bool = msgspec.field(default=False, name="performHPO")
    solution_config: dict[str, Any] = {}


class CreateSolutionVersion(Asked, frozen=True, kw_only=True):
    """A training."""

    solution_arn: str
    name: str | None = None
    training_mode: Literal["FULL", "UPDATE"] = "FULL"


class CreateCampaign(Asked, frozen=True, kw_only=True):
    """What is served."""

    name: str
    solution_version_arn: str
    min_provisioned_tps: int = msgspec.field(default=1, name="minProvisionedTPS")
    campaign_config: dict[str, Any] = {}


class UpdateCampaign(Asked, frozen=True, kw_only=True):
    """Another version or configuration for a campaign."""

    campaign_arn: str
    solution_version_arn: str | None = None
    min_provisioned_tps: int | None = msgspec.field(default=None, name="minProvisionedTPS")
    campaign_config: dict[str, Any] | None = None


class CreateRecommender(Asked, frozen=True, kw_only=True):
    """Solution, version and campaign in one."""

    name: str
    dataset_group_arn: str
    recipe_arn: str
    recommender_config: dict[str, Any] = {}


class CreateFilter(Asked, frozen=True, kw_only=True):
    """A filter expression under a name."""

    name: str
    dataset_group_arn: str
    filter_expression: str


class CreateEventTracker(Asked, frozen=True, kw_only=True):
    """An address for events."""

    name: str
    dataset_group_arn: str


class UpdateRecommender(Asked, frozen=True, kw_only=True):
    """Another configuration for a recommender."""

    recommender_arn: str
    recommender_config: dict[str, Any]


class RecommenderNamed(Asked, frozen=True, kw_only=True):
    """StartRecommender and StopRecommender."""

    recommender_arn: str


class Place(Asked, frozen=True, kw_only=True):
    """A path of a bucket."""

    path: str


class JobInput(Asked, frozen=True, kw_only=True):
    """Where a batch job reads."""

    s3_data_source: Place = msgspec.field(name="s3DataSource")


class JobOutput(Asked, frozen=True, kw_only=True):
    """Where a batch job writes."""

    s3_data_destination: Place = msgspec.field(name="s3DataDestination")


class CreateBatchSegmentJob(Asked, frozen=True, kw_only=True):
    """The users most likely to want what each line of a file names."""

    job_name: str
    solution_version_arn: str
    job_input: JobInput
    job_output: JobOutput
    role_arn: str | None = None
    filter_arn: str | None = None
    num_results: Annotated[int, Meta(ge=1, le=5_000_000)] = 25


class CreateBatchInferenceJob(Asked, frozen=True, kw_only=True):
    """Recommendations for each line of a file."""

    job_name: str
    solution_version_arn: str
    job_input: JobInput
    job_output: JobOutput
    role_arn: str | None = None
    filter_arn: str | None = None
    num_results: Annotated[int, Meta(ge=1, le=500)] = 25
    batch_inference_job_config: dict[str, Any] = {}
    batch_inference_job_mode: str = "BATCH_INFERENCE"


class Tag(msgspec.Struct, frozen=True, kw_only=True):
    """A label for people; it changes nothing."""

    tag_key: Annotated[str, Meta(min_length=1, max_length=128)] = msgspec.field(name="tagKey")
    tag_value: Annotated[str, Meta(max_length=256)] = msgspec.field(name="tagValue")


class TagResource(Asked, frozen=True, kw_only=True):
    """Labels to add to a resource."""

    resource_arn: str
    tags: Annotated[list[Tag], Meta(max_length=200)]


class UntagResource(Asked, frozen=True, kw_only=True):
    """Labels to take from a resource."""

    resource_arn: str
    tag_keys: Annotated[list[str], Meta(max_length=200)]


class ListTagsForResource(Asked, frozen=True, kw_only=True):
    """The labels of a resource."""

    resource_arn: str


class CreateDataDeletionJob(Asked, frozen=True, kw_only=True):
    """Users to forget, in CSV files with a column USER_ID."""

    job_name: str
    dataset_group_arn: str
    data_source: DataSource
    role_arn: str | None = None


class MetricIn(Asked, frozen=True, kw_only=True):
    """One metric of a metric attribution."""

    event_type: Annotated[str, Meta(min_length=1, max_length=256)]
    metric_name: Annotated[str, Meta(min_length=1, max_length=256)]
    expression: Annotated[str, Meta(max_length=256)]


class MetricsOutput(Asked, frozen=True, kw_only=True):
    """Where the numbers are written."""

    role_arn: str
    s3_data_destination: Place | None = msgspec.field(default=None, name="s3DataDestination")


class CreateMetricAttribution(Asked, frozen=True, kw_only=True):
    """What is to be counted of a group's events."""

    name: str
    dataset_group_arn: str
    metrics: Annotated[list[MetricIn], Meta(max_length=10)]
    metrics_output_config: MetricsOutput


class UpdateMetricAttribution(Asked, frozen=True, kw_only=True):
    """Other metrics, or another place for them."""

    metric_attribution_arn: str | None = None
    add_metrics: Annotated[list[MetricIn], Meta(max_length=10)] = []
    remove_metrics: Annotated[list[str], Meta(max_length=10)] = []
    metrics_output_config: MetricsOutput | None = None


class ListMetricAttributionMetrics(Asked, frozen=True, kw_only=True):
    """The metrics of a metric attribution."""

    metric_attribution_arn: str | None = None
    next_token: str | None = None
    max_results: Annotated[int, Meta(ge=1, le=100)] = 100


class GetSolutionMetrics(Asked, frozen=True, kw_only=True):
    """How good a solution version is."""

    solution_version_arn: str


@final
class Access:
    """Which dataset groups the caller's key may touch; None = all."""

    def __init__(self, groups: frozenset[str] | None) -> None:
        self._groups = groups

    def allows(self, group: str) -> bool:
        """Return whether the key may touch a group."""
        return self._groups is None or group in self._groups

    def check(self, group: str) -> None:
        """Raise AWS's 403 when the key may not touch ``group``."""
        if not self.allows(group):
            raise AwsError(
                "AccessDeniedException", f"This key may not use the dataset group '{group}'.", status=403
            )


def decoded(body: bytes, kind: Any) -> Any:
    """Return a JSON body as ``kind``.

    Raises:
        AwsError: it is not JSON, or not of that form; the message has the place.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise invalid(f"The request is not understood: {error}.") from None
