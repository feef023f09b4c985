"""The control plane: what ``AmazonPersonalize.<Operation>`` does here.

Describe, List and Delete are the same for every kind of resource; Create differs. ARNs map to names of this
server, whatever region and account they carry.
"""

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, final

import msgspec

from penchant.feed.filter_parse import parse_filter
from penchant.http.personalize.attributions import Attributions
from penchant.http.personalize.batches import Batches
from penchant.http.personalize.deletions import Deletions
from penchant.http.personalize.desk import Desk
from penchant.http.personalize.errors import AwsError, invalid
from penchant.http.personalize.groups import OWN
from penchant.http.personalize.jobs import Work, command, import_arguments, located
from penchant.http.personalize.kinds import ACTIVE, KINDS, PENDING, Kind
from penchant.http.personalize.recipes import RECIPES, recipe_arn, recipe_of
from penchant.http.personalize.requests import (
    Access,
    CreateDataset,
    CreateDatasetGroup,
    CreateDatasetImportJob,
    CreateEventTracker,
    CreateFilter,
    CreateSchema,
    decoded,
)
from penchant.http.personalize.solutions import Solutions
from penchant.http.personalize.store import PREFIX, Resource, check_name, path_of
from penchant.http.personalize.tags import Tags
from penchant.http.personalize.unsupported import INSTEAD, refusal

_DATA: dict[str, tuple[str, ...]] = {
    "INTERACTIONS": (),
    "ITEMS": (),
    "USERS": (),
    "ACTIONS": ("ACTION_ID",),
    "ACTION_INTERACTIONS": ("USER_ID", "ACTION_ID", "EVENT_TYPE", "TIMESTAMP"),
}
"""The types of datasets, and the fields that the schema of those about actions must have."""
_PAGE = 100

Operation: TypeAlias = Callable[[Any, Access], Awaitable[dict[str, Any]]]


@final
class Control:
    """Answers control-plane operations; ``access`` below are the groups that the caller's key may touch."""

    def __init__(self, desk: Desk, attributions: Attributions) -> None:
        self._desk = desk
        self._attributions = attributions
        self._solutions = Solutions(desk)
        desk.jobs.does("dataset-import-job", self._importing)
        self._operations: dict[str, tuple[type[Any], Operation]] = {
            "CreateSchema": (CreateSchema, self._schema),
            "CreateDatasetGroup": (CreateDatasetGroup, self._dataset_group),
            "CreateDataset": (CreateDataset, self._dataset),
            "CreateDatasetImportJob": (CreateDatasetImportJob, self._import_job),
            "CreateFilter": (CreateFilter, self._filter),
            "CreateEventTracker": (CreateEventTracker, self._tracker),
            **self._solutions.operations,
            **Batches(desk).operations,
            **Deletions(desk).operations,
            **attributions.operations,
            **Tags(desk).operations,
        }

    async def answer(self, operation: str, body: bytes, access: Access) -> dict[str, Any]:
        """Return the answer of one operation.

        Raises:
            AwsError: the operation is not supported, the request is wrong, or the key may not touch it.
        """
        own = self._operations.get(operation)
        if own is not None:
            return await own[1](decoded(body, own[0]), access)
        if operation in INSTEAD:
            raise refusal(operation)
        asked = decoded(body, dict[str, Any])
        if operation == "ListRecipes":
            return {"recipes": [_recipe(name) for name in sorted(RECIPES)]}
        if operation == "DescribeRecipe":
            name, role = recipe_of(str(asked.get("recipeArn")))
            return {"recipe": {**_recipe(name), "description": f"Answered here by the {role} feed."}}
        for verb, act in (("Describe", self._describe), ("List", self._list), ("Delete", self._delete)):
            noun = operation.removeprefix(verb)
            kind = KINDS.get(noun) or next((k for n, k in KINDS.items() if f"{n}s" == noun), None)
            if noun != operation and kind is not None and (verb != "Delete" or kind.can_delete):
                return await act(kind, asked, access)
        raise refusal(operation)

    async def _describe(self, kind: Kind, asked: dict[str, Any], access: Access) -> dict[str, Any]:
        return {kind.body: kind.describe(self._named(kind, asked, access))}

    async def _list(self, kind: Kind, asked: dict[str, Any], access: Access) -> dict[str, Any]:
        given = asked.get(kind.by) if kind.by else None
        arn = f"{PREFIX}{path_of(str(given))}" if given is not None else None
        wanted = {"_solutionArn" if kind.body == "campaign" else str(kind.by): arn} if arn else {}
        found = [r for r in self._desk.store.all(kind.path, **wanted) if access.allows(r.group)]
        return self._page(found, kind, asked)

    def _page(self, found: list[Resource], kind: Kind, asked: dict[str, Any]) -> dict[str, Any]:
        most, token = asked.get("maxResults", _PAGE), asked.get("nextToken")
        if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= _PAGE:
            raise invalid(f"maxResults must be 1 to {_PAGE}.")
        if token is not None and not isinstance(token, str):
            raise invalid("nextToken must be a text.")
        page = self._desk.store.page(found, most=most, token=token)
        answer: dict[str, Any] = {kind.listed: [kind.summarise(one) for one in page.resources]}
        return {**answer, "nextToken": page.next_token} if page.next_token else answer

    async def _delete(self, kind: Kind, asked: dict[str, Any], access: Access) -> dict[str, Any]:
        resource = self._named(kind, asked, access)
        for other, field in kind.needed_by:
            users = self._desk.store.all(other, **{field: resource.arn})
            if users:
                raise AwsError(
                    "ResourceInUseException", f"{resource.arn} is used by {users[0].arn}.", status=409
                )
        if resource.kind in ("solution", "campaign", "recommender"):
            await self._solutions.removed(resource)
        if resource.kind == "dataset-group":
            await self._desk.groups.delete(resource.name)
        self._desk.store.remove(resource.path)
        return {}

    async def _schema(self, asked: CreateSchema, access: Access) -> dict[str, Any]:
        try:
            parsed = json.loads(asked.schema)
        except (ValueError, RecursionError):
            raise invalid("The schema is not JSON.") from None
        if not isinstance(parsed, dict) or "fields" not in parsed:
            raise invalid("The schema is not an Avro record with fields.")
        fields = {"schema": asked.schema, **({"domain": asked.domain} if asked.domain else {})}
        return {"schemaArn": self._desk.add("schema", asked.name, group=OWN, fields=fields).arn}

    async def _dataset_group(self, asked: CreateDatasetGroup, access: Access) -> dict[str, Any]:
        name = check_name(asked.name)
        access.check(name)
        await self._desk.groups.create(name)
        fields = {"domain": asked.domain} if asked.domain else {}
        group = self._desk.add("dataset-group", name, group=name, fields=fields)
        return {"datasetGroupArn": group.arn, **fields}

    async def _dataset(self, asked: CreateDataset, access: Access) -> dict[str, Any]:
        group = self._desk.group(asked.dataset_group_arn, access)
        schema = self._desk.store.get(path_of(asked.schema_arn, "schema"))
        type_ = asked.dataset_type.upper()
        if type_ not in _DATA:
            raise invalid(f"datasetType must be one of {', '.join(_DATA)}; got {asked.dataset_type[:50]}.")
        fields = {**self._desk.of_group(group), "schemaArn": schema.arn, "datasetType": type_}
        if _DATA[type_]:
            self._check_actions(group, schema, type_)
        if type_ == "ACTION_INTERACTIONS":  # Amazon makes the tracker of these with the dataset
            fields["trackingId"] = str(uuid.uuid4())
        resource = self._desk.add(
            "dataset",
            asked.name,
            group=group,
            fields=fields,
            path=f"dataset/{group}/{type_}",
        )
        return {"datasetArn": resource.arn}

    def _check_actions(self, group: str, schema: Resource, type_: str) -> None:
        """Refuse a dataset about actions in a domain's group, or with a schema that lacks a field."""
        if self._desk.store.get(f"dataset-group/{group}").fields.get("domain"):
            raise invalid(f"A dataset of {type_} needs a dataset group without a domain.")
        given = json.loads(schema.fields["schema"])["fields"]
        names = [one.get("name") for one in given if isinstance(one, dict)] if isinstance(given, list) else []
        missing = [name for name in _DATA[type_] if name not in names]
        if missing:
            raise invalid(f"The schema of {type_} has no field {', '.join(missing)}.")

    async def _import_job(self, asked: CreateDatasetImportJob, access: Access) -> dict[str, Any]:
        dataset = self._desk.get(asked.dataset_arn, "dataset", access)
        located(asked.data_source.data_location, self._desk.buckets)
        fields = {
            "datasetArn": dataset.arn,
            "dataSource": msgspec.to_builtins(asked.data_source),
            "importMode": asked.import_mode,
            **({"roleArn": asked.role_arn} if asked.role_arn else {}),
        }
        job = self._desk.add(
            "dataset-import-job", asked.job_name, group=dataset.group, fields=fields, status=PENDING
        )
        self._desk.jobs.start(job)
        return {"datasetImportJobArn": job.arn}

    def _importing(self, job: Resource) -> Work:
        """Return the work that imports the files of a job."""

        async def work() -> dict[str, Any]:
            dataset = self._desk.store.get(path_of(job.fields["datasetArn"]))
            files = located(job.fields["dataSource"]["dataLocation"], self._desk.buckets)
            arguments = import_arguments(dataset.fields["datasetType"], files)
            summary = await command(self._desk.groups.folder(job.group), *arguments)
            self._attributions.noticed(job.group, at_once=True)
            return {"_summary": summary}

        return work

    async def _filter(self, asked: CreateFilter, access: Access) -> dict[str, Any]:
        group = self._desk.group(asked.dataset_group_arn, access)
        parse_filter(asked.filter_expression)
        fields = {**self._desk.of_group(group), "filterExpression": asked.filter_expression}
        return {"filterArn": self._desk.add("filter", asked.name, group=group, fields=fields).arn}

    async def _tracker(self, asked: CreateEventTracker, access: Access) -> dict[str, Any]:
        group = self._desk.group(asked.dataset_group_arn, access)
        tracking = str(uuid.uuid4())
        fields = {**self._desk.of_group(group), "trackingId": tracking}
        path = f"event-tracker/{tracking}"
        resource = self._desk.add("event-tracker", asked.name, group=group, fields=fields, path=path)
        return {"eventTrackerArn": resource.arn, "trackingId": tracking}

    def _named(self, kind: Kind, asked: dict[str, Any], access: Access) -> Resource:
        arn = asked.get(kind.arn)
        if not isinstance(arn, str):
            raise invalid(f"{kind.arn} is required.")
        resource = self._desk.get(arn, "solution" if kind.body == "solutionVersion" else kind.path, access)
        if resource.kind != kind.path:
            raise invalid(f"'{arn}' is the ARN of a {resource.kind}.")
        return resource


def _recipe(name: str) -> dict[str, Any]:
    return {"name": name, "recipeArn": recipe_arn(name), "status": ACTIVE}
