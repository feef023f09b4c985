"""Solutions, their versions, campaigns and recommenders: what is trained and what is served.

A solution version is recipes of its own in the group's settings, so versions stand side by side; a campaign
is a feed over the version that it names. The newest versions of a solution (``keep_versions``) and those that
a campaign serves keep their models, the others' are removed by the next training.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, final

from penchant.http.personalize.desk import LATEST, RETIRED, Desk
from penchant.http.personalize.errors import AwsError, invalid
from penchant.http.personalize.jobs import Work, command, task
from penchant.http.personalize.kinds import ACTIVE, INACTIVE, PENDING
from penchant.http.personalize.recipes import (
    SEGMENTS,
    actions_for,
    feed_for,
    plain_name,
    recipe_arn,
    recipe_of,
    recipes_for,
)
from penchant.http.personalize.requests import (
    Access,
    CreateCampaign,
    CreateRecommender,
    CreateSolution,
    CreateSolutionVersion,
    GetSolutionMetrics,
    RecommenderNamed,
    UpdateCampaign,
    UpdateRecommender,
)
from penchant.http.personalize.store import Resource, check_name
from penchant.http.personalize.tasks import Measure
from penchant.workspace.settings import Settings


@final
class Solutions:
    """Answers the operations about solutions, versions, campaigns and recommenders."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._measuring: dict[str, asyncio.Task[dict[str, float]]] = {}
        desk.jobs.does("solution-version", self._training)
        desk.jobs.does("recommender", self._recommending)
        self.operations: dict[str, tuple[type[Any], Callable[[Any, Access], Awaitable[dict[str, Any]]]]] = {
            "CreateSolution": (CreateSolution, self._solution),
            "CreateSolutionVersion": (CreateSolutionVersion, self._version),
            "CreateCampaign": (CreateCampaign, self._campaign),
            "UpdateCampaign": (UpdateCampaign, self._update_campaign),
            "CreateRecommender": (CreateRecommender, self._recommender),
            "UpdateRecommender": (UpdateRecommender, self._update_recommender),
            "StartRecommender": (RecommenderNamed, self._start),
            "StopRecommender": (RecommenderNamed, self._stop),
            "GetSolutionMetrics": (GetSolutionMetrics, self._metrics),
        }

    async def _solution(self, asked: CreateSolution, access: Access) -> dict[str, Any]:
        group = self._desk.group(asked.dataset_group_arn, access)
        if asked.recipe_arn is None or asked.perform_auto_ml:
            raise invalid("Give a recipeArn: automatic choice of a recipe is not supported.")
        name, role = recipe_of(asked.recipe_arn)
        recipes_for("checked", role, asked.solution_config, asked.event_type)
        fields = {
            **self._desk.of_group(group),
            "recipeArn": recipe_arn(name),
            "performAutoML": False,
            "performHPO": asked.perform_hpo,
            "solutionConfig": asked.solution_config,
            "_role": role,
            **({"eventType": asked.event_type} if asked.event_type else {}),
        }
        return {"solutionArn": self._desk.add("solution", asked.name, group=group, fields=fields).arn}

    async def _version(self, asked: CreateSolutionVersion, access: Access) -> dict[str, Any]:
        solution = self._desk.get(asked.solution_arn, "solution", access)
        if solution.kind != "solution":
            raise invalid(f"'{asked.solution_arn}' is not the ARN of a solution.")
        version = check_name(asked.name or uuid.uuid4().hex[:8])
        path = f"{solution.path}/{version}"
        resource = self._desk.add(
            "solution-version",
            version,
            group=solution.group,
            fields={
                **solution.fields,
                "solutionArn": solution.arn,
                "trainingMode": asked.training_mode,
                "trainingType": "MANUAL",
                "_model": plain_name(path),
            },
            status=PENDING,
            path=path,
        )
        self._desk.jobs.start(resource)
        return {"solutionVersionArn": resource.arn}

    def _training(self, trained: Resource) -> Work:
        """Return the work that trains a version or a recommender."""
        desk, fields = self._desk, trained.fields
        role, event_type = fields["_role"], fields.get("eventType")
        recipes = recipes_for(fields["_model"], role, fields.get("solutionConfig", {}), event_type)

        async def work() -> dict[str, Any]:
            begun = desk.clock.now()
            retired = self._retired(trained)
            without = [name for one in retired for name in one.fields.get("_recipes", ())]
            await desk.groups.declare(trained.group, recipes=recipes, without=without)
            for one in retired:
                desk.store.change(one.path, now=desk.clock.now(), fields={RETIRED: True})
            try:
                await command(desk.groups.folder(trained.group), "train", *recipes)
            except BaseException:
                await desk.groups.declare(trained.group, without=list(recipes))
                raise
            await desk.groups.clear(trained.group)
            await self._synchronise(trained)
            return {
                "_recipes": list(recipes),
                "trainingHours": round((desk.clock.now() - begun) / 3600, 6),
            }

        return work

    def _retired(self, trained: Resource) -> list[Resource]:
        """Return the older versions whose models nobody needs any more once ``trained`` is there."""
        if trained.kind != "solution-version":
            return []
        store, solution = self._desk.store, trained.fields["solutionArn"]
        keep = Settings.read(self._desk.groups.folder(trained.group)).workspace.keep_versions
        ready = [one for one in store.all("solution-version", solutionArn=solution) if one.status == ACTIVE]
        ready.sort(key=lambda one: one.created, reverse=True)
        served = {one.fields["solutionVersionArn"] for one in store.all("campaign", _solutionArn=solution)}
        return [
            one
            for one in ready[max(keep - 1, 1) :]
            if one.arn not in served and not one.fields.get(RETIRED, False)
        ]

    async def _synchronise(self, trained: Resource) -> None:
        """Let the campaigns that follow the newest version of a solution serve ``trained``."""
        if trained.kind != "solution-version":
            return
        for campaign in self._desk.store.all("campaign", _solutionArn=trained.fields["solutionArn"]):
            if campaign.fields["campaignConfig"].get("syncWithLatestSolutionVersion"):
                await self._serve(campaign.path, trained, campaign.fields["campaignConfig"])
                self._desk.store.change(
                    campaign.path, now=self._desk.clock.now(), fields={"solutionVersionArn": trained.arn}
                )

    async def _campaign(self, asked: CreateCampaign, access: Access) -> dict[str, Any]:
        version = self._servable(asked.solution_version_arn, asked.campaign_config, access)
        fields = {
            "solutionVersionArn": version.arn,
            "minProvisionedTPS": asked.min_provisioned_tps,
            "campaignConfig": asked.campaign_config,
            "_solutionArn": version.fields["solutionArn"],
        }
        campaign = self._desk.add("campaign", asked.name, group=version.group, fields=fields)
        try:
            await self._serve(campaign.path, version, asked.campaign_config)
        except BaseException:
            self._desk.store.remove(campaign.path)
            raise
        return {"campaignArn": campaign.arn}

    async def _update_campaign(self, asked: UpdateCampaign, access: Access) -> dict[str, Any]:
        campaign = self._desk.get(asked.campaign_arn, "campaign", access)
        given = asked.campaign_config
        config = campaign.fields["campaignConfig"] if given is None else given
        arn = asked.solution_version_arn
        if arn is None:
            version = self._desk.usable(campaign.fields["solutionVersionArn"], access)
        else:
            version = self._servable(arn, config, access)
        if version.group != campaign.group:
            raise invalid("A campaign cannot move to another dataset group.")
        await self._serve(campaign.path, version, config)
        changes: dict[str, Any] = {
            "solutionVersionArn": version.arn,
            "_solutionArn": version.fields["solutionArn"],
            "campaignConfig": config,
        }
        if asked.min_provisioned_tps is not None:
            changes["minProvisionedTPS"] = asked.min_provisioned_tps
        now = self._desk.clock.now()
        changes["latestCampaignUpdate"] = {
            **{name: value for name, value in changes.items() if not name.startswith("_")},
            "status": ACTIVE,
            "creationDateTime": now,
            "lastUpdatedDateTime": now,
        }
        return {"campaignArn": self._desk.store.change(campaign.path, now=now, fields=changes).arn}

    def _servable(self, arn: str, config: dict[str, Any], access: Access) -> Resource:
        if config.get("syncWithLatestSolutionVersion") and not arn.endswith(f"/{LATEST}"):
            raise invalid(f"syncWithLatestSolutionVersion needs a solutionVersionArn that ends in /{LATEST}.")
        version = self._desk.usable(arn, access)
        role = version.fields["_role"]
        if role in SEGMENTS:
            raise invalid(f"A recipe of {role} finds users. Ask it with CreateBatchSegmentJob.")
        return version

    async def _serve(self, path: str, trained: Resource, config: dict[str, Any]) -> None:
        """Declare the feed that the campaign or recommender ``path`` is served by."""
        model, role, explore = (
            trained.fields["_model"],
            trained.fields["_role"],
            config.get("itemExplorationConfig"),
        )
        if role == "actions":
            await self._desk.groups.declare(
                trained.group, actions={plain_name(path): actions_for(model, explore)}
            )
        else:
            feed = feed_for(model, role, explore)
            await self._desk.groups.declare(trained.group, feeds={plain_name(path): feed})

    async def _recommender(self, asked: CreateRecommender, access: Access) -> dict[str, Any]:
        group = self._desk.group(asked.dataset_group_arn, access)
        name, role = recipe_of(asked.recipe_arn)
        if role in SEGMENTS:
            raise invalid(f"The recipe {name} finds users. Ask it with CreateBatchSegmentJob.")
        if role == "actions":
            raise invalid(
                f"The recipe {name} is served by a campaign: use CreateSolution and CreateCampaign."
            )
        path = f"recommender/{check_name(asked.name)}"
        model = plain_name(path)
        config = asked.recommender_config
        feed_for(model, role, config.get("itemExplorationConfig"))
        fields = {
            **self._desk.of_group(group),
            "recipeArn": recipe_arn(name),
            "recommenderConfig": config,
            "_role": role,
            "_model": model,
        }
        resource = self._desk.add("recommender", asked.name, group=group, fields=fields, status=PENDING)
        self._desk.jobs.start(resource)
        return {"recommenderArn": resource.arn}

    def _recommending(self, recommender: Resource) -> Work:
        """Return the work that trains a recommender and serves it."""
        train = self._training(recommender)

        async def work() -> dict[str, Any]:
            done = await train()
            await self._serve(recommender.path, recommender, recommender.fields["recommenderConfig"])
            return done

        return work

    async def _update_recommender(self, asked: UpdateRecommender, access: Access) -> dict[str, Any]:
        recommender = self._ready(asked.recommender_arn, access, (ACTIVE, INACTIVE))
        await self._serve(recommender.path, recommender, asked.recommender_config)
        changes = {"recommenderConfig": asked.recommender_config}
        self._desk.store.change(recommender.path, now=self._desk.clock.now(), fields=changes)
        return {"recommenderArn": recommender.arn}

    async def _start(self, asked: RecommenderNamed, access: Access) -> dict[str, Any]:
        return self._switched(self._ready(asked.recommender_arn, access, (INACTIVE,)), ACTIVE)

    async def _stop(self, asked: RecommenderNamed, access: Access) -> dict[str, Any]:
        return self._switched(self._ready(asked.recommender_arn, access, (ACTIVE,)), INACTIVE)

    def _switched(self, recommender: Resource, status: str) -> dict[str, Any]:
        self._desk.store.change(recommender.path, now=self._desk.clock.now(), status=status)
        return {"recommenderArn": recommender.arn}

    def _ready(self, arn: str, access: Access, states: tuple[str, ...]) -> Resource:
        recommender = self._desk.get(arn, "recommender", access)
        if recommender.status not in states:
            raise AwsError(
                "ResourceInUseException", f"{recommender.arn} is {recommender.status}.", status=409
            )
        return recommender

    async def removed(self, gone: Resource) -> None:
        """Take what a deleted solution, campaign or recommender trained and served out of its group."""
        names = [plain_name(gone.path), *gone.fields.get("_recipes", ())]
        for version in self._desk.store.all("solution-version", solutionArn=gone.arn):
            names += version.fields.get("_recipes", ())
            self._desk.store.remove(version.path)
        await self._desk.groups.declare(gone.group, without=names)

    async def _metrics(self, asked: GetSolutionMetrics, access: Access) -> dict[str, Any]:
        version = self._desk.trained(asked.solution_version_arn, access)
        known = version.fields.get("_metrics")
        if known is None:
            # Shielded and shared: a client that gives up waiting finds the numbers when it asks again.
            measuring = self._measuring.get(version.path)
            if measuring is None:
                measuring = asyncio.create_task(self._measure(version))
                self._measuring[version.path] = measuring
            known = await asyncio.shield(measuring)
        return {"solutionVersionArn": version.arn, "metrics": known}

    async def _measure(self, version: Resource) -> dict[str, float]:
        try:
            fields = version.fields
            role, popular = fields["_role"], f"{fields['_model']}__popular"
            metrics: dict[str, float] = await task(
                Measure(
                    folder=str(self._desk.groups.folder(version.group)),
                    recipe=popular if role == "popular" else fields["_model"],
                    segments=role in SEGMENTS,
                )
            )
            self._desk.store.change(version.path, now=version.updated, fields={"_metrics": metrics})
            return metrics
        finally:
            self._measuring.pop(version.path, None)
