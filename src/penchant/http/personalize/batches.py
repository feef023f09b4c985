"""Batch inference and batch segment jobs: files of a mounted bucket in, files out."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal, final

import msgspec

from penchant.http.personalize.desk import Desk
from penchant.http.personalize.errors import invalid
from penchant.http.personalize.jobs import Work, located, place, task
from penchant.http.personalize.kinds import PENDING
from penchant.http.personalize.lines import ENDINGS
from penchant.http.personalize.recipes import SEGMENTS, Role, feed_for
from penchant.http.personalize.requests import Access, CreateBatchInferenceJob, CreateBatchSegmentJob
from penchant.http.personalize.store import Resource
from penchant.http.personalize.tasks import AnyTask, Infer, Named, Segment

_ASKS: dict[Role, Literal["userId", "itemId", "itemList"]] = {
    "personal": "userId",
    "popular": "userId",
    "trending": "userId",
    "similar": "itemId",
    "ranking": "itemList",
}
_TASK = "_task"
"""The field of a job that says what its process is to do."""


@final
class Batches:
    """Answers CreateBatchInferenceJob and CreateBatchSegmentJob."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        for kind in ("batch-inference-job", "batch-segment-job"):
            desk.jobs.does(kind, self._answering)
        self.operations: dict[str, tuple[type[Any], Callable[[Any, Access], Awaitable[dict[str, Any]]]]] = {
            "CreateBatchInferenceJob": (CreateBatchInferenceJob, self._infer),
            "CreateBatchSegmentJob": (CreateBatchSegmentJob, self._segment),
        }

    async def _infer(self, asked: CreateBatchInferenceJob, access: Access) -> dict[str, Any]:
        if asked.batch_inference_job_mode != "BATCH_INFERENCE":
            raise invalid("Themes are not generated here: use batchInferenceJobMode BATCH_INFERENCE.")
        version = self._desk.usable(asked.solution_version_arn, access)
        role: Role = version.fields["_role"]
        if role not in _ASKS:
            instead = "GetActionRecommendations" if role == "actions" else "CreateBatchSegmentJob"
            raise invalid(f"A recipe of {role} gives no batch of items: use {instead}.")
        config = asked.batch_inference_job_config
        model = version.fields["_model"]
        inputs, output = self._places(asked)
        work = Infer(
            folder=str(self._desk.groups.folder(version.group)),
            inputs=inputs,
            output=output,
            feed=feed_for(model, role, config.get("itemExplorationConfig"), logged=False),
            model=model,
            asks=_ASKS[role],
            k=asked.num_results,
            filter=self._filter(asked.filter_arn, version.group, access),
        )
        fields = {"batchInferenceJobConfig": config, "batchInferenceJobMode": asked.batch_inference_job_mode}
        job = self._job("batch-inference-job", asked, version, work, fields)
        self._desk.jobs.start(job)
        return {"batchInferenceJobArn": job.arn}

    async def _segment(self, asked: CreateBatchSegmentJob, access: Access) -> dict[str, Any]:
        version = self._desk.usable(asked.solution_version_arn, access)
        role: Role = version.fields["_role"]
        if role not in SEGMENTS:
            raise invalid(f"A recipe of kind {role} finds no users: use CreateBatchInferenceJob.")
        inputs, output = self._places(asked)
        work = Segment(
            folder=str(self._desk.groups.folder(version.group)),
            inputs=inputs,
            output=output,
            model=version.fields["_model"],
            asks="itemId" if role == "item affinity" else "itemAttributes",
            k=asked.num_results,
            filter=self._filter(asked.filter_arn, version.group, access),
        )
        job = self._job("batch-segment-job", asked, version, work, {})
        self._desk.jobs.start(job)
        return {"batchSegmentJobArn": job.arn}

    def _places(self, asked: CreateBatchInferenceJob | CreateBatchSegmentJob) -> tuple[list[str], str]:
        inputs = located(asked.job_input.s3_data_source.path, self._desk.buckets, ENDINGS)
        output = place(asked.job_output.s3_data_destination.path, self._desk.buckets)
        if output.is_file() or any(path.parent == output for path in inputs):
            raise invalid("The output must be a folder other than the input's.")
        return [str(path) for path in inputs], str(output)

    def _filter(self, arn: str | None, group: str, access: Access) -> Named | None:
        if arn is None:
            return None
        chosen = self._desk.get(arn, "filter", access)
        if chosen.group != group:
            raise invalid(f"The filter {arn} belongs to another dataset group.")
        return Named(name=chosen.name, expression=chosen.fields["filterExpression"])

    def _job(
        self,
        kind: str,
        asked: CreateBatchInferenceJob | CreateBatchSegmentJob,
        version: Resource,
        work: Infer | Segment,
        fields: dict[str, Any],
    ) -> Resource:
        told = {
            "solutionVersionArn": version.arn,
            "numResults": asked.num_results,
            "jobInput": msgspec.to_builtins(asked.job_input),
            "jobOutput": msgspec.to_builtins(asked.job_output),
            **({"roleArn": asked.role_arn} if asked.role_arn else {}),
            **({"filterArn": asked.filter_arn} if asked.filter_arn else {}),
            **fields,
            _TASK: msgspec.to_builtins(work),
        }
        return self._desk.add(kind, asked.job_name, group=version.group, fields=told, status=PENDING)

    def _answering(self, job: Resource) -> Work:
        async def work() -> dict[str, Any]:
            asked = msgspec.convert(job.fields[_TASK], AnyTask)
            counts = await task(asked)
            if counts["failed"] and not counts["answered"]:
                output = Path(job.fields[_TASK]["output"])
                raise invalid(f"No line could be answered. The errors stand in {output.name}.")
            return {"_counts": counts}

        return work
