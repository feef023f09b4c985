"""Data deletion jobs: the users of a file leave their dataset group for good."""

from collections.abc import Awaitable, Callable
from typing import Any, final

from penchant.http.personalize.desk import Desk
from penchant.http.personalize.jobs import States, Work, command, located
from penchant.http.personalize.requests import Access, CreateDataDeletionJob
from penchant.http.personalize.store import Resource

_STATES = States(running="IN_PROGRESS", done="COMPLETED", failed="FAILED")


@final
class Deletions:
    """Answers CreateDataDeletionJob."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        desk.jobs.does("data-deletion-job", self._forgetting, _STATES)
        self.operations: dict[str, tuple[type[Any], Callable[[Any, Access], Awaitable[dict[str, Any]]]]] = {
            "CreateDataDeletionJob": (CreateDataDeletionJob, self._delete)
        }

    async def _delete(self, asked: CreateDataDeletionJob, access: Access) -> dict[str, Any]:
        group = self._desk.group(asked.dataset_group_arn, access)
        located(asked.data_source.data_location, self._desk.buckets, (".csv",))
        fields = {
            **self._desk.of_group(group),
            "dataSource": {"dataLocation": asked.data_source.data_location},
            **({"roleArn": asked.role_arn} if asked.role_arn else {}),
        }
        job = self._desk.add(
            "data-deletion-job", asked.job_name, group=group, fields=fields, status="PENDING"
        )
        self._desk.jobs.start(job)
        return {"dataDeletionJobArn": job.arn}

    def _forgetting(self, job: Resource) -> Work:
        async def work() -> dict[str, Any]:
            files = located(job.fields["dataSource"]["dataLocation"], self._desk.buckets, (".csv",))
            listed = [part for file in files for part in ("--file", str(file))]
            receipt = await command(self._desk.groups.folder(job.group), "forget", *listed)
            return {"numDeleted": sum(receipt["events"].values())}

        return work
