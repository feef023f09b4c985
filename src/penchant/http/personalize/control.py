"""The control plane: what ``AmazonPersonalize.<Operation>`` does here.

Describe, List and Delete are the same for every kind of resource; Create differs. ARNs map to names of this
server, whatever region and account they carry. Campaigns serve the newest version of their solution.
"""

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, final

import msgspec

from penchant.feed.filter_parse import parse_filter
from penchant.http.personalize.errors import AwsError, invalid
from penchant.http.personalize.groups import OWN, Groups
from penchant.http.personalize.jobs import Jobs, command, import_arguments, located
from penchant.http.personalize.kinds import (
    ACTIVE,
    KINDS,
    PENDING,
    RECIPES,
    Kind,
    feed_for,
    recipe_of,
    recipes_for,
)
from penchant.http.personalize.requests import (
    Access,
    CreateCampaign,
    CreateDataset,
    CreateDatasetGroup,
    CreateDatasetImportJob,
    CreateEventTracker,
    CreateFilter,
    CreateRecommender,
    CreateSchema,
    CreateSolution,
    CreateSolutionVersion,
    GetSolutionMetrics,
    UpdateCampaign,
    decoded,
)
from penchant.http.personalize.store import PREFIX, Resource, Store, check_name, path_of
from penchant.kernel.clock import Clock

_SUPPORTED_DATA = ("INTERACTIONS", "ITEMS", "USERS")
_PAGE = 100


@final
class Control:
    """Answers control-plane operations; ``allowed`` below are the groups that the caller's key may touch."""

    def __init__(
        self, store: Store, groups: Groups, jobs: Jobs, clock: Clock, buckets: dict[str, str]
    ) -> None:
        self._store = store
        self._groups = groups
        self._jobs = jobs
        self._clock = clock
        self._buckets = buckets
        self._create: dict[str, tuple[type[Any], Callable[[Any, Access], Awaitable[dict[str, Any]]]]] = {
            "CreateSchema": (CreateSchema, self._schema),
            "CreateDatasetGroup": (CreateDatasetGroup, self._dataset_group),
            "CreateDataset": (CreateDataset, self._dataset),
            "CreateDatasetImportJob": (CreateDatasetImportJob, self._import_job),
            "CreateSolution": (CreateSolution, self._solution),
            "CreateSolutionVersion": (CreateSolutionVersion, self._solution_version),
            "CreateCampaign": (CreateCampaign, self._campaign),
            "UpdateCampaign": (UpdateCampaign, self._update_campaign),
            "CreateRecommender": (CreateRecommender, self._recommender),
            "CreateFilter": (CreateFilter, self._filter),
            "CreateEventTracker": (CreateEventTracker, self._tracker),
            "GetSolutionMetrics": (GetSolutionMetrics, self._metrics),
        }

    async def answer(self, operation: str, body: bytes, access: Access) -> dict[str, Any]:
        """Return the answer of one operation.

        Raises:
            AwsError: the operation is not supported, the request is wrong, or the key may not touch it.
        """
        made = self._create.get(operation)
        if made is not None:
            return await made[1](decoded(body, made[0]), access)
        asked = decoded(body, dict[str, Any])
        if operation in ("ListRecipes", "DescribeRecipe"):
            return _recipe(asked.get("recipeArn")) if operation == "DescribeRecipe" else _recipes()
        for verb, act in (("Describe", self._describe), ("List", self._list), ("Delete", self._delete)):
            noun = operation.removeprefix(verb)
            kind = KINDS.get(noun) or next((k for n, k in KINDS.items() if f"{n}s" == noun), None)
            if noun != operation and kind is not None:
                return await act(kind, asked, access)
        known = ", ".join(
            sorted([*self._create, *(f"{v}{n}" for n in KINDS for v in ("Describe", "Delete"))])
        )
        raise invalid(f"The operation {operation[:100]} is not supported here. Supported: {known}, List...")

    async def _describe(self, kind: Kind, asked: dict[str, Any], access: Access) -> dict[str, Any]:
        return {kind.body: kind.describe(self._named(kind, asked, access))}

    async def _list(self, kind: Kind, asked: dict[str, Any], access: Access) -> dict[str, Any]:
        most = asked.get("maxResults", _PAGE)
        if not isinstance(most, int) or not 1 <= most <= _PAGE:
            raise invalid(f"maxResults must be 1 to {_PAGE}.")
        given = asked.get(kind.by) if kind.by else None
        arn = f"{PREFIX}{path_of(str(given))}" if given is not None else None
        wanted = {"_solutionArn" if kind.body == "campaign" else str(kind.by): arn} if arn else {}
        found = [r for r in self._store.all(kind.path, **wanted) if access.allows(r.group)]
        page = self._store.page(found, most=most, token=asked.get("nextToken"))
        answer: dict[str, Any] = {kind.listed: [kind.summarise(one) for one in page.resources]}
        return {**answer, "nextToken": page.next_token} if page.next_token else answer

    async def _delete(self, kind: Kind, asked: dict[str, Any], access: Access) -> dict[str, Any]:
        resource = self._named(kind, asked, access)
        for other, field in kind.needed_by:
            users = self._store.all(other, **{field: resource.arn})
            if users:
                raise AwsError(
                    "ResourceInUseException", f"{resource.arn} is used by {users[0].arn}.", status=409
                )
        if kind.body == "datasetGroup":
            await self._groups.delete(resource.name)
        self._store.remove(resource.path)
        return {}

    async def _schema(self, asked: CreateSchema, access: Access) -> dict[str, Any]:
        try:
            parsed = json.loads(asked.schema)
        except ValueError:
            raise invalid("The schema is not JSON.") from None
        if not isinstance(parsed, dict) or "fields" not in parsed:
            raise invalid("The schema is not an Avro record with fields.")
        fields = {"schema": asked.schema, **({"domain": asked.domain} if asked.domain else {})}
        return {"schemaArn": self._add("schema", asked.name, group=OWN, fields=fields).arn}

    async def _dataset_group(self, asked: CreateDatasetGroup, access: Access) -> dict[str, Any]:
        name = check_name(asked.name)
        access.check(name)
        await self._groups.create(name)
        fields = {"domain": asked.domain} if asked.domain else {}
        return {"datasetGroupArn": self._add("dataset-group", name, group=name, fields=fields).arn, **fields}

    async def _dataset(self, asked: CreateDataset, access: Access) -> dict[str, Any]:
        group = self._group(asked.dataset_group_arn, access)
        schema = self._store.get(path_of(asked.schema_arn, "schema"))
        type_ = asked.dataset_type.upper()
        if type_ not in _SUPPORTED_DATA:
            raise invalid(
                f"datasetType must be one of {', '.join(_SUPPORTED_DATA)}; got {asked.dataset_type[:50]}."
            )
        fields = {
            "datasetGroupArn": f"{PREFIX}dataset-group/{group}",
            "schemaArn": schema.arn,
            "datasetType": type_,
        }
        check_name(asked.name)
        resource = self._add(
            "dataset", asked.name, group=group, fields=fields, path=f"dataset/{group}/{type_}"
        )
        return {"datasetArn": resource.arn}

    async def _import_job(self, asked: CreateDatasetImportJob, access: Access) -> dict[str, Any]:
        dataset = self._get(asked.dataset_arn, "dataset", access)
        files = located(asked.data_source.data_location, self._buckets)
        fields = {
            "datasetArn": dataset.arn,
            "dataSource": msgspec.to_builtins(asked.data_source),
            "importMode": asked.import_mode,
            **({"roleArn": asked.role_arn} if asked.role_arn else {}),
        }
        job = self._add(
            "dataset-import-job", asked.job_name, group=dataset.group, fields=fields, status=PENDING
        )
        folder = self._groups.folder(dataset.group)

        async def work() -> dict[str, Any]:
            summary = await command(folder, *import_arguments(dataset.fields["datasetType"], files))
            return {"_summary": summary}

        self._jobs.start(job.path, work)
        return {"datasetImportJobArn": job.arn}

    async def _solution(self, asked: CreateSolution, access: Access) -> dict[str, Any]:
        group = self._group(asked.dataset_group_arn, access)
        if asked.recipe_arn is None or asked.perform_auto_ml:
            raise invalid("Give a recipeArn: automatic choice of a recipe is not supported.")
        name, role = recipe_of(asked.recipe_arn)
        check_name(asked.name)
        recipes = recipes_for(asked.name, role, asked.solution_config, asked.event_type)
        fields = {
            "datasetGroupArn": f"{PREFIX}dataset-group/{group}",
            "recipeArn": _recipe_arn(name),
            "performAutoML": False,
            "performHPO": asked.perform_hpo,
            "solutionConfig": asked.solution_config,
            "_role": role,
            "_recipes": list(recipes),
            **({"eventType": asked.event_type} if asked.event_type else {}),
        }
        resource = self._add("solution", asked.name, group=group, fields=fields)
        try:
            await self._groups.declare(group, recipes, {asked.name: feed_for(asked.name, role)})
        except BaseException:
            self._store.remove(resource.path)
            raise
        return {"solutionArn": resource.arn}

    async def _solution_version(self, asked: CreateSolutionVersion, access: Access) -> dict[str, Any]:
        solution = self._get(asked.solution_arn, "solution", access)
        version = asked.name or uuid.uuid4().hex[:8]
        shared = (
            "datasetGroupArn",
            "recipeArn",
            "performAutoML",
            "performHPO",
            "solutionConfig",
            "eventType",
        )
        fields = {
            **{name: solution.fields[name] for name in shared if name in solution.fields},
            "solutionArn": solution.arn,
            "trainingMode": asked.training_mode,
            "trainingType": "MANUAL",
        }
        resource = self._add(
            "solution-version",
            check_name(version),
            group=solution.group,
            fields=fields,
            status=PENDING,
            path=f"{solution.path}/{version}",
        )
        self._jobs.start(resource.path, self._training(solution))
        return {"solutionVersionArn": resource.arn}

    def _training(self, solution: Resource) -> Callable[[], Any]:
        folder, recipes = self._groups.folder(solution.group), solution.fields["_recipes"]

        async def work() -> dict[str, Any]:
            begun = self._clock.now()
            await command(folder, "train", *recipes)
            return {"trainingHours": round((self._clock.now() - begun) / 3600, 6)}

        return work

    async def _campaign(self, asked: CreateCampaign, access: Access) -> dict[str, Any]:
        version = self._trained(asked.solution_version_arn, access)
        fields = {
            "solutionVersionArn": version.arn,
            "minProvisionedTPS": asked.min_provisioned_tps,
            "campaignConfig": asked.campaign_config,
            "_solutionArn": version.fields["solutionArn"],
        }
        await self._explore(version, asked.campaign_config)
        return {"campaignArn": self._add("campaign", asked.name, group=version.group, fields=fields).arn}

    async def _update_campaign(self, asked: UpdateCampaign, access: Access) -> dict[str, Any]:
        campaign = self._get(asked.campaign_arn, "campaign", access)
        changes: dict[str, Any] = {}
        if asked.solution_version_arn is not None:
            version = self._trained(asked.solution_version_arn, access)
            if version.group != campaign.group:
                raise invalid("A campaign cannot move to another dataset group.")
            changes = {"solutionVersionArn": version.arn, "_solutionArn": version.fields["solutionArn"]}
        if asked.campaign_config is not None:
            solution = str(changes.get("_solutionArn", campaign.fields["_solutionArn"]))
            await self._explore(self._store.get(path_of(solution)), asked.campaign_config)
        given = {"minProvisionedTPS": asked.min_provisioned_tps, "campaignConfig": asked.campaign_config}
        changes.update({name: value for name, value in given.items() if value is not None})
        return {"campaignArn": self._store.change(campaign.path, now=self._clock.now(), fields=changes).arn}

    async def _explore(self, trained: Resource, config: dict[str, Any]) -> None:
        """Set how much the feed of a solution (or a version of it) explores."""
        arn = trained.fields.get("solutionArn", trained.arn)
        solution = self._store.get(path_of(arn))
        asked = config.get("itemExplorationConfig")
        if asked:
            feed = feed_for(solution.name, solution.fields["_role"], asked)
            await self._groups.declare(solution.group, {}, {solution.name: feed})

    async def _recommender(self, asked: CreateRecommender, access: Access) -> dict[str, Any]:
        group = self._group(asked.dataset_group_arn, access)
        name, role = recipe_of(asked.recipe_arn)
        recipes = recipes_for(check_name(asked.name), role, {}, None)
        fields = {
            "datasetGroupArn": f"{PREFIX}dataset-group/{group}",
            "recipeArn": _recipe_arn(name),
            "recommenderConfig": asked.recommender_config,
            "_role": role,
            "_recipes": list(recipes),
        }
        resource = self._add("recommender", asked.name, group=group, fields=fields, status=PENDING)
        try:
            await self._groups.declare(group, recipes, {asked.name: feed_for(asked.name, role)})
        except BaseException:
            self._store.remove(resource.path)
            raise
        self._jobs.start(resource.path, self._training(resource))
        return {"recommenderArn": resource.arn}

    async def _filter(self, asked: CreateFilter, access: Access) -> dict[str, Any]:
        group = self._group(asked.dataset_group_arn, access)
        parse_filter(asked.filter_expression)
        fields = {
            "datasetGroupArn": f"{PREFIX}dataset-group/{group}",
            "filterExpression": asked.filter_expression,
        }
        return {"filterArn": self._add("filter", asked.name, group=group, fields=fields).arn}

    async def _tracker(self, asked: CreateEventTracker, access: Access) -> dict[str, Any]:
        group = self._group(asked.dataset_group_arn, access)
        tracking = str(uuid.uuid4())
        fields = {"datasetGroupArn": f"{PREFIX}dataset-group/{group}", "trackingId": tracking}
        check_name(asked.name)
        path = f"event-tracker/{tracking}"
        resource = self._add("event-tracker", asked.name, group=group, fields=fields, path=path)
        return {"eventTrackerArn": resource.arn, "trackingId": tracking}

    async def _metrics(self, asked: GetSolutionMetrics, access: Access) -> dict[str, Any]:
        version = self._trained(asked.solution_version_arn, access)
        folder = self._groups.folder(version.group)
        solution = version.fields["solutionArn"].rsplit("/", 1)[-1]
        board = await command(folder, "evaluate")
        return {"solutionVersionArn": version.arn, "metrics": amazon_metrics(board, solution)}

    def _add(
        self,
        kind: str,
        name: str,
        *,
        group: str,
        fields: dict[str, Any],
        status: str = ACTIVE,
        path: str | None = None,
    ) -> Resource:
        now = self._clock.now()
        resource = Resource(
            path=path or f"{kind}/{check_name(name)}",
            kind=kind,
            name=name,
            group=group,
            status=status,
            created=now,
            updated=now,
            fields=fields,
        )
        self._store.add(resource)
        return resource

    def _named(self, kind: Kind, asked: dict[str, Any], access: Access) -> Resource:
        arn = asked.get(kind.arn)
        if not isinstance(arn, str):
            raise invalid(f"{kind.arn} is required.")
        return self._get(arn, "solution" if kind.body == "solutionVersion" else kind.path, access)

    def _get(self, arn: str, kind: str, access: Access) -> Resource:
        resource = self._store.get(path_of(arn, kind))
        access.check(resource.group)
        return resource

    def _group(self, arn: str, access: Access) -> str:
        name = path_of(arn, "dataset-group").partition("/")[2]
        access.check(name)
        self._groups.folder(name)
        return name

    def _trained(self, arn: str, access: Access) -> Resource:
        version = self._get(arn, "solution", access)
        if version.kind != "solution-version":
            raise invalid(f"'{arn}' is not the ARN of a solution version.")
        if version.status != ACTIVE:
            raise AwsError("ResourceInUseException", f"{version.arn} is {version.status}.", status=409)
        return version


def amazon_metrics(board: Any, solution: str) -> dict[str, float]:
    """Return a recipe's metrics under Amazon's keys from the evaluation's JSON answer."""
    for row in board.get("entries", []):
        if row.get("name") == solution:
            return {name: float(value) for name, value in row.get("amazon", {}).items()}
    raise AwsError("ResourceInUseException", "There are no metrics yet.", status=409)


def _recipe_arn(name: str) -> str:
    return f"arn:aws:personalize:::recipe/{name}"


def _recipes() -> dict[str, Any]:
    return {
        "recipes": [
            {"name": name, "recipeArn": _recipe_arn(name), "status": ACTIVE} for name in sorted(RECIPES)
        ]
    }


def _recipe(arn: object) -> dict[str, Any]:
    name, role = recipe_of(str(arn))
    return {
        "recipe": {
            "name": name,
            "recipeArn": _recipe_arn(name),
            "status": ACTIVE,
            "description": f"Answered here by the {role} feed.",
        }
    }
