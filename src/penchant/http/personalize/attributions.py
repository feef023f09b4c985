"""Metric attributions: what recommendations brought, as CSV files in a folder of a mounted bucket."""

from collections.abc import Awaitable, Callable
from typing import Any, final

import msgspec

from penchant.data.attribution import Metric
from penchant.http.personalize.desk import Desk
from penchant.http.personalize.errors import AwsError, invalid
from penchant.http.personalize.jobs import CREATED, States, Work, place, task
from penchant.http.personalize.kinds import ACTIVE, PENDING
from penchant.http.personalize.recipes import plain_name
from penchant.http.personalize.requests import (
    Access,
    CreateMetricAttribution,
    ListMetricAttributionMetrics,
    MetricIn,
    MetricsOutput,
    UpdateMetricAttribution,
)
from penchant.http.personalize.store import Resource
from penchant.http.personalize.tasks import Attribute
from penchant.kernel.clock import MINUTE

KIND = "metric-attribution"
_MOST_METRICS = 10
_EVERY = 15 * MINUTE  # the files are written at most this often while events arrive
_UPDATED = States(running="UPDATE IN_PROGRESS", done=ACTIVE, failed="UPDATE FAILED")
_REFRESHED = States(running=ACTIVE, done=ACTIVE, failed=ACTIVE)


@final
class Attributions:
    """Answers the operations about metric attributions."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._due: dict[str, float] = {}
        desk.jobs.does(KIND, self._report, CREATED, _UPDATED)
        self.operations: dict[str, tuple[type[Any], Callable[[Any, Access], Awaitable[dict[str, Any]]]]] = {
            "CreateMetricAttribution": (CreateMetricAttribution, self._create),
            "UpdateMetricAttribution": (UpdateMetricAttribution, self._update),
            "ListMetricAttributionMetrics": (ListMetricAttributionMetrics, self._metrics),
        }

    def noticed(self, group: str, *, at_once: bool = False) -> None:
        """Write a group's files again some time after events arrived in it."""
        now = self._desk.clock.now()
        if now >= self._due.get(group, 0.0) or at_once:
            self._due[group] = now + _EVERY
            for one in self._desk.store.all(KIND, group=group):
                self._desk.jobs.start(one, states=_REFRESHED)

    async def _create(self, asked: CreateMetricAttribution, access: Access) -> dict[str, Any]:
        group = self._desk.group(asked.dataset_group_arn, access)
        if self._desk.store.all(KIND, group=group):
            raise AwsError(
                "LimitExceededException", "The dataset group has a metric attribution. Update that one."
            )
        fields = {
            **self._desk.of_group(group),
            "metricsOutputConfig": self._checked(asked.metrics_output_config),
            "_metrics": _checked_metrics(asked.metrics, {}),
        }
        made = self._desk.add(KIND, asked.name, group=group, fields=fields, status=PENDING)
        self._desk.jobs.start(made)
        return {"metricAttributionArn": made.arn}

    async def _update(self, asked: UpdateMetricAttribution, access: Access) -> dict[str, Any]:
        if asked.metric_attribution_arn is None:
            raise invalid("metricAttributionArn is required.")
        old = self._desk.get(asked.metric_attribution_arn, KIND, access)
        kept = {
            name: metric
            for name, metric in old.fields["_metrics"].items()
            if name not in asked.remove_metrics
        }
        fields: dict[str, Any] = {"_metrics": _checked_metrics(asked.add_metrics, kept)}
        if asked.metrics_output_config is not None:
            fields["metricsOutputConfig"] = self._checked(asked.metrics_output_config)
        self._desk.store.change(old.path, now=self._desk.clock.now(), fields=fields)
        self._desk.jobs.start(old, states=_UPDATED)
        return {"metricAttributionArn": old.arn}

    async def _metrics(self, asked: ListMetricAttributionMetrics, access: Access) -> dict[str, Any]:
        if asked.metric_attribution_arn is None:
            raise invalid("metricAttributionArn is required.")
        one = self._desk.get(asked.metric_attribution_arn, KIND, access)
        listed = list(one.fields["_metrics"].values())
        first = int(asked.next_token) if asked.next_token and asked.next_token.isdecimal() else 0
        answer: dict[str, Any] = {"metrics": listed[first : first + asked.max_results]}
        after = first + asked.max_results
        return {**answer, "nextToken": str(after)} if after < len(listed) else answer

    def _checked(self, config: MetricsOutput) -> dict[str, Any]:
        if config.s3_data_destination is None:
            raise invalid("s3DataDestination is required: the numbers go to files, not to CloudWatch.")
        place(config.s3_data_destination.path, self._desk.buckets)
        return {"roleArn": config.role_arn, "s3DataDestination": {"path": config.s3_data_destination.path}}

    def _report(self, attribution: Resource) -> Work:
        async def work() -> dict[str, Any]:
            one = self._desk.store.get(attribution.path)
            output = one.fields["metricsOutputConfig"]["s3DataDestination"]["path"]
            rows = await task(
                Attribute(
                    folder=str(self._desk.groups.folder(one.group)),
                    name=one.name,
                    output=str(place(output, self._desk.buckets)),
                    metrics=[msgspec.convert(m, MetricIn) for m in one.fields["_metrics"].values()],
                    names=self._names(one.group),
                )
            )
            return {"_rows": rows}

        return work

    def _names(self, group: str) -> dict[str, str]:
        """Return the feeds of a group by the names of the campaigns and recommenders that they serve."""
        served: list[Resource] = [
            one for kind in ("campaign", "recommender") for one in self._desk.store.all(kind, group=group)
        ]
        return {plain_name(one.path): one.name for one in served}


def _checked_metrics(added: list[MetricIn], known: dict[str, Any]) -> dict[str, dict[str, str]]:
    metrics = dict(known)
    for one in added:
        Metric.of(one.metric_name, one.event_type, one.expression)
        if one.metric_name in metrics:
            raise AwsError("ResourceAlreadyExistsException", f"There is a metric '{one.metric_name}'.")
        metrics[one.metric_name] = {
            "eventType": one.event_type,
            "metricName": one.metric_name,
            "expression": one.expression,
        }
    if not 1 <= len(metrics) <= _MOST_METRICS:
        raise invalid(f"A metric attribution has 1 to {_MOST_METRICS} metrics, not {len(metrics)}.")
    return metrics
