"""What every part of the control plane works with: resources, groups, jobs, and the rules all share."""

from dataclasses import dataclass
from typing import Any

from penchant.http.personalize.errors import AwsError, invalid
from penchant.http.personalize.groups import Groups
from penchant.http.personalize.jobs import Jobs
from penchant.http.personalize.kinds import ACTIVE
from penchant.http.personalize.requests import Access
from penchant.http.personalize.store import PREFIX, Resource, Store, check_name, path_of
from penchant.kernel.clock import Clock

LATEST = "$LATEST"
RETIRED = "_retired"
"""The field of a solution version whose models were removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Shared by all operations of one worker. ``buckets`` maps s3 buckets to folders of this machine."""

    store: Store
    groups: Groups
    jobs: Jobs
    clock: Clock
    buckets: dict[str, str]

    def add(
        self,
        kind: str,
        name: str,
        *,
        group: str,
        fields: dict[str, Any],
        status: str = ACTIVE,
        path: str | None = None,
    ) -> Resource:
        """Store a new resource, under ``kind/name`` unless it has a path of its own.

        Raises:
            AwsError: the name is not one, or is taken.
        """
        check_name(name)
        now = self.clock.now()
        resource = Resource(
            path=path or f"{kind}/{name}",
            kind=kind,
            name=name,
            group=group,
            status=status,
            created=now,
            updated=now,
            fields=fields,
        )
        self.store.add(resource)
        return resource

    def get(self, arn: str, kind: str, access: Access) -> Resource:
        """Return the resource of an ARN of that kind.

        Raises:
            AwsError: it is not there, or the key may not touch its group.
        """
        resource = self.store.get(path_of(arn, kind))
        access.check(resource.group)
        return resource

    def group(self, arn: str, access: Access) -> str:
        """Return the name of a dataset group that exists and that the key may touch.

        Raises:
            AwsError: it does not, or may not.
        """
        name = path_of(arn, "dataset-group").partition("/")[2]
        access.check(name)
        self.groups.folder(name)
        return name

    def trained(self, arn: str, access: Access) -> Resource:
        """Return a solution version that can be used; ``<solution>/$LATEST`` is the newest.

        Raises:
            AwsError: there is none, or it is not trained yet.
        """
        if arn.endswith(f"/{LATEST}"):
            solution = self.get(arn.removesuffix(f"/{LATEST}"), "solution", access)
            ready = [
                one
                for one in self.store.all("solution-version", solutionArn=solution.arn)
                if one.status == ACTIVE
            ]
            if not ready:
                raise AwsError(
                    "ResourceInUseException", f"{solution.arn} has no trained version yet.", status=409
                )
            return max(ready, key=lambda one: one.created)
        version = self.get(arn, "solution", access)
        if version.kind != "solution-version":
            raise invalid(
                f"'{arn}' is not the ARN of a solution version. Name one, or end the solution's in /{LATEST}."
            )
        if version.status != ACTIVE:
            raise AwsError("ResourceInUseException", f"{version.arn} is {version.status}.", status=409)
        return version

    def usable(self, arn: str, access: Access) -> Resource:
        """Return a solution version whose models are there; raises as `trained`, and when they are not."""
        version = self.trained(arn, access)
        if version.fields.get(RETIRED):
            raise invalid(
                f"The models of {version.arn} were removed, as newer versions came. Create a version anew."
            )
        return version

    def of_group(self, name: str) -> dict[str, Any]:
        """Return the field that says which group a resource belongs to."""
        return {"datasetGroupArn": f"{PREFIX}dataset-group/{name}"}
