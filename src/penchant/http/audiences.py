"""The routes of audiences: a job is posted, looked at by its id, and its files are fetched by name."""

import asyncio
import mimetypes
from typing import Annotated, Any, TypeAlias

import msgspec
from litestar import Response, delete, get, post
from litestar.params import JSONBody
from msgspec import Meta

from penchant.audiences.config import AudienceCard
from penchant.http.audience_jobs import AudienceJobs
from penchant.http.audience_store import Job, Request, Step
from penchant.http.checks import check_number, path_id
from penchant.http.errors import Problem
from penchant.http.routes import AnyRequest, PathId, backend_of, refused
from penchant.http.wire import Id, Incoming, Outgoing
from penchant.kernel.errors import InputError
from penchant.reports.audience_run import order_of
from penchant.workspace.user_filters import check_user_filter

ListName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
_BODY = 64 * 1024 * 1024


class AudienceIn(Incoming, frozen=True, kw_only=True):
    """A seed list to grow, with the options of ``penchant audience``.

    ``values`` says how much each seed counts. ``exclude`` are lists by name, such as suppressed or converted.
    ``where`` is a filter expression that candidates must pass. ``previous`` is the id of an earlier audience
    to measure drift against. ``model`` names a trained recipe whose space the method ``embedding`` uses.
    """

    seeds: Annotated[list[Id], Meta(min_length=1)]
    size: Annotated[int, Meta(ge=1)]
    values: list[Annotated[float, Meta(gt=0)]] | None = None
    exclude: dict[Annotated[str, Meta(min_length=1, max_length=64)], list[Id]] = msgspec.field(
        default_factory=dict
    )
    where: Annotated[str, Meta(max_length=10_000)] = ""
    method: str = "auto"
    model: Annotated[str, Meta(max_length=64)] = ""
    max_features: Annotated[int, Meta(ge=1, le=1000)] = 20
    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.05
    focus: Annotated[float, Meta(gt=0)] = 1.0
    distance: str = "euclidean"
    hide: tuple[str, ...] = ()
    category: str = "category"
    fine: str | None = None
    days: Annotated[float, Meta(gt=0, lt=100_000)] = 365.0
    profile: tuple[str, ...] = ()
    protect: tuple[str, ...] = ()
    include_seeds: bool = False
    holdout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    export: tuple[str, ...] = ()
    country_code: Annotated[str, Meta(max_length=8)] = ""
    previous: Id | None = None
    seed: Annotated[int, Meta(ge=0)] = 0


class AudienceAnswer(Outgoing, frozen=True, kw_only=True):
    """A job as it stands; ``card`` says how the audience came to be once it is done."""

    audience_id: str
    status: str  # queued, running, done or failed
    submitted_at: float
    started_at: float | None
    ended_at: float | None
    progress: Step | None
    problem: Problem | None
    files: list[str]
    card: AudienceCard | None = None


class AudiencesAnswer(Outgoing, frozen=True, kw_only=True):
    """All jobs, oldest first, without their cards."""

    audiences: list[AudienceAnswer]


def jobs_of(request: AnyRequest) -> AudienceJobs:
    """Return the jobs of the workspace."""
    jobs: AudienceJobs = request.app.state.audiences
    return jobs


@post(
    "/v1/audiences",
    summary="Grow an audience",
    tags=["audiences"],
    status_code=202,
    responses=refused(400, 404, 409, 413),
    request_max_body_size=_BODY,
)
async def post_audience(request: AnyRequest, data: JSONBody[AudienceIn]) -> AudienceAnswer:
    """Take a seed list; the answer names the job. Jobs run one after the other and survive a restart."""
    backend = backend_of(request)
    limit = backend.workspace.settings.server.max_seeds
    check_number(len(data.seeds), limit, "$.seeds", "[server] max_seeds")
    for name, ids in data.exclude.items():
        check_number(len(ids), 10 * limit, f"$.exclude.{name}", "[server] max_seeds")
    if data.values is not None and len(data.values) != len(data.seeds):
        raise InputError(
            f"{len(data.values)} values for {len(data.seeds)} seeds.", where="$.values", fix="One each."
        )
    if data.where:
        check_user_filter(data.where)
    asked = Request(
        order=order_of(_settings(data)),
        seeds=data.seeds,
        values=data.values,
        exclude=data.exclude,
        previous=data.previous,
    )
    now = backend.workspace.clock.now()
    return _answer(await asyncio.to_thread(jobs_of(request).store.submit, asked, now=now))


@get(
    "/v1/audiences",
    summary="All audiences",
    tags=["audiences"],
    responses=refused(),
    sync_to_thread=True,
)
def get_audiences(request: AnyRequest) -> AudiencesAnswer:
    """Return all jobs, oldest first."""
    return AudiencesAnswer(audiences=[_answer(job) for job in jobs_of(request).store.jobs()])


@get(
    "/v1/audiences/{audience:str}",
    summary="An audience",
    # Said here, as Litestar gives its wrapper's docstring where a path has another method, too.
    description="Return how far a job is; when it is done its card, when it failed the problem.",
    tags=["audiences"],
    responses=refused(400, 404),
    sync_to_thread=True,
)
def get_audience(request: AnyRequest, audience: PathId) -> AudienceAnswer:
    """Return a job."""
    store = jobs_of(request).store
    job = store.job(path_id(audience, "audience"))
    return _answer(job, store.card(job))


@get(
    "/v1/audiences/{audience:str}/files/{name:str}",
    summary="A file of an audience",
    tags=["audiences"],
    responses=refused(400, 404),
    sync_to_thread=True,
)
def get_audience_file(request: AnyRequest, audience: PathId, name: PathId) -> Response[bytes]:
    """Return one of the files: the list, its reasons, the report, the exports."""
    store = jobs_of(request).store
    wanted = path_id(name, "name")
    content = store.file(store.job(path_id(audience, "audience")), wanted).read_bytes()
    kind = mimetypes.guess_type(wanted)[0] or "application/octet-stream"
    headers = {"Content-Disposition": f'attachment; filename="{wanted}"'} if kind == "text/csv" else {}
    return Response(content, media_type=kind, headers=headers)


@delete(
    "/v1/audiences/{audience:str}",
    summary="Delete an audience",
    tags=["audiences"],
    responses=refused(400, 404, 409),
    sync_to_thread=True,
)
def delete_audience(request: AnyRequest, audience: PathId) -> None:
    """Delete a job with its lists and files."""
    store = jobs_of(request).store
    store.remove(store.job(path_id(audience, "audience")))


AUDIENCE_ROUTES = [post_audience, get_audiences, get_audience, get_audience_file, delete_audience]


def _settings(data: AudienceIn) -> dict[str, Any]:
    """Return the options as the settings of an order."""
    config = {
        name: getattr(data, name)
        for name in ("size", "method", "fine", "hide", "max_features", "threshold", "focus", "distance")
    }
    config |= {
        "features": {"category": data.category, "window_days": data.days, "profile": data.profile},
        "include_seeds": data.include_seeds,
        "protected": data.protect,
    }
    rest = {name: getattr(data, name) for name in _BESIDES}
    return {"config": config, **rest}


def _answer(job: Job, card: AudienceCard | None = None) -> AudienceAnswer:
    told = {name: getattr(job, name) for name in _TOLD}
    return AudienceAnswer(**told, card=card)


_BESIDES = ("where", "model", "holdout", "export", "country_code", "seed")
_TOLD = tuple(name for name in AudienceAnswer.__struct_fields__ if name != "card")
