"""The routes under /v1: each takes typed input, asks the live view and gives typed output."""

import uuid
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

from litestar import Request, Response, get, post, put
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, PathParameter, QueryParameter

from penchant.data.events import AnyEvent, ItemPut, UserPut
from penchant.http.backend import Backend
from penchant.http.checks import (
    check_events,
    check_number,
    filter_values_of,
    known_parameters,
    path_id,
    promotion_of,
)
from penchant.http.errors import ErrorAnswer
from penchant.http.metrics import CONTENT_TYPE
from penchant.http.reply import Reply
from penchant.http.wire import (
    Acknowledged,
    EventsIn,
    FeedAnswer,
    HealthAnswer,
    ItemAnswer,
    ItemIn,
    ItemsIn,
    Properties,
    RankAnswer,
    RankIn,
    ReadyAnswer,
    ScoredItem,
    SimilarAnswer,
    UserIn,
    UsersIn,
    feed_answer,
)
from penchant.kernel.errors import NotReady

AnyRequest: TypeAlias = Request[Any, Any, State]
_MAX_K = 10_000  # a feed's own k_max is lower still


_REFUSALS = {
    400: "Wrong input.",
    401: "No or the wrong API key.",
    404: "Not found.",
    409: "Not now: what it is about is busy, or there is too much of it.",
    413: "Too large.",
    503: "Not ready, or the log takes no events.",
}


def refused(*statuses: int) -> dict[int, ResponseSpec]:
    """Return what the schema says of the refusals of a route."""
    return {
        status: ResponseSpec(ErrorAnswer, description=_REFUSALS[status], generate_examples=False)
        for status in (*statuses, 401)
    }


PathId: TypeAlias = Annotated[
    str, PathParameter(description="An id, percent-encoded UTF-8, 1 to 256 characters.", max_length=3072)
]
Amount: TypeAlias = Annotated[int, QueryParameter(ge=1, le=_MAX_K, description="How many items.")]
Explain: TypeAlias = Annotated[
    bool, QueryParameter(description="Say why each item is there and what each stage did.")
]
Anchor: TypeAlias = Annotated[
    str | None, QueryParameter(description="The item that a feed of related items is about.")
]
Excluded: TypeAlias = Annotated[
    list[str] | None, QueryParameter(description="An item not to give; repeat it for several.")
]

Filters: TypeAlias = Annotated[
    list[str] | None,
    QueryParameter(
        name="filter",
        description="A filter of the settings that every item has to pass; repeat for several.",
    ),
]
FilterValues: TypeAlias = Annotated[
    list[str] | None,
    QueryParameter(
        description="NAME=VALUE for a $parameter of the filters and promotions, several values as "
        '"a","b"; repeat it for several parameters.'
    ),
]
Promotions: TypeAlias = Annotated[
    list[str] | None,
    QueryParameter(
        name="promotion",
        description="FILTER:PERCENT, a share of the places for items that pass a filter, or FILTER:2slots, a "
        "number of them; may be repeated.",
    ),
]


_FEED_PARAMETERS = ("k", "explain", "item", "exclude", "filter", "filter_values", "promotion")


def backend_of(request: AnyRequest) -> Backend:
    """Return what stands behind the routes."""
    backend: Backend = request.app.state.backend
    return backend


@get(
    "/v1/feeds/{feed:str}/{user:str}",
    summary="A user's feed",
    tags=["feeds"],
    responses={200: ResponseSpec(FeedAnswer, description="The feed."), **refused(400, 404, 503)},
    sync_to_thread=False,
)
def get_feed(
    request: AnyRequest,
    feed: PathId,
    user: PathId,
    k: Amount = 25,
    explain: Explain = False,
    item: Anchor = None,
    exclude: Excluded = None,
    filters: Filters = None,
    filter_values: FilterValues = None,
    promotions: Promotions = None,
) -> Reply:
    """Return k items for a user. A user nobody knows gets what the feed gives to strangers."""
    known_parameters(request, _FEED_PARAMETERS)
    backend = backend_of(request)
    unwanted = exclude or ()
    check_number(
        len(unwanted), backend.workspace.settings.server.max_exclude, "exclude", "[server] max_exclude"
    )
    answer = backend.serving.feed(
        path_id(feed, "feed"),
        path_id(user, "user"),
        k=k,
        exclude=unwanted,
        item_id=item,
        filters=filters or (),
        filter_values=filter_values_of(filter_values or ()),
        promotions=[promotion_of(text) for text in promotions or ()],
        explain=explain,
    )
    backend.metrics.feed(answer)
    return Reply(feed_answer(answer, explain=explain))


@get(
    "/v1/items/{item:str}/similar",
    summary="Items like an item",
    tags=["items"],
    responses=refused(400, 404, 503),
    sync_to_thread=False,
)
def get_similar(request: AnyRequest, item: PathId, k: Amount = 25) -> SimilarAnswer:
    """Return the k items most like one, best first."""
    known_parameters(request, ("k",))
    item_id = path_id(item, "item")
    return SimilarAnswer(item_id=item_id, items=_scored(backend_of(request).serving.similar(item_id, k)))


@post(
    "/v1/rank",
    summary="Rank items for a user",
    tags=["feeds"],
    status_code=200,
    responses=refused(400, 413, 503),
    sync_to_thread=False,
)
def post_rank(request: AnyRequest, data: JSONBody[RankIn]) -> RankAnswer:
    """Return the given items best first; items that nobody can score come last, with a null score."""
    backend = backend_of(request)
    _check_batch(backend, len(data.item_ids), "$.item_ids")
    return RankAnswer(user_id=data.user_id, items=_scored(backend.serving.rank(data.user_id, data.item_ids)))


@get(
    "/v1/items/{item:str}",
    summary="An item",
    tags=["items"],
    responses=refused(400, 404, 503),
    sync_to_thread=False,
)
def get_item(request: AnyRequest, item: PathId) -> ItemAnswer:
    """Return an item's latest properties."""
    item_id = path_id(item, "item")
    return ItemAnswer(item_id=item_id, properties=backend_of(request).serving.item(item_id))


@post(
    "/v1/events",
    summary="Record events",
    tags=["events"],
    status_code=200,
    responses=refused(400, 413, 503),
)
async def post_events(request: AnyRequest, data: JSONBody[EventsIn]) -> Acknowledged:
    """Store a batch of events, all or none. When this answers they are on disk and in the next feed."""
    backend = backend_of(request)
    check_events(data.events, now=backend.workspace.clock.now())
    return await _write(backend, data.events, "$.events")


@put("/v1/users/{user:str}", summary="Put a user", tags=["users"], responses=refused(400, 413, 503))
async def put_user(request: AnyRequest, user: PathId, data: JSONBody[Properties]) -> Acknowledged:
    """Say all properties of a user; what was said before no longer holds."""
    one = UserIn(user_id=path_id(user, "user"), properties=data.properties)
    return await _put_users(backend_of(request), [one])


@put("/v1/users", summary="Put users", tags=["users"], responses=refused(400, 413, 503))
async def put_users(request: AnyRequest, data: JSONBody[UsersIn]) -> Acknowledged:
    """Put a batch of users, all or none."""
    return await _put_users(backend_of(request), data.users)


@put("/v1/items/{item:str}", summary="Put an item", tags=["items"], responses=refused(400, 413, 503))
async def put_item(request: AnyRequest, item: PathId, data: JSONBody[Properties]) -> Acknowledged:
    """Say all properties of an item; what was said before no longer holds."""
    one = ItemIn(item_id=path_id(item, "item"), properties=data.properties)
    return await _put_items(backend_of(request), [one])


@put("/v1/items", summary="Put items", tags=["items"], responses=refused(400, 413, 503))
async def put_items(request: AnyRequest, data: JSONBody[ItemsIn]) -> Acknowledged:
    """Put a batch of items, all or none."""
    return await _put_items(backend_of(request), data.items)


@get("/v1/health", summary="Is the process well", tags=["service"], sync_to_thread=False)
def get_health(request: AnyRequest) -> HealthAnswer:
    """Answer while the process is up and the log takes events, 503 with the reason when it does not."""
    backend = backend_of(request)
    problem = backend.problem()
    if problem is not None:
        raise NotReady(problem)
    return HealthAnswer(status="ok", waiting=backend.waiting())


@get("/v1/ready", summary="Can feeds be asked for", tags=["service"], sync_to_thread=False)
def get_ready(request: AnyRequest) -> ReadyAnswer:
    """Answer when models are loaded, 503 with the reason before."""
    return ReadyAnswer(status="ready", model_version=backend_of(request).serving.model_version)


@get("/metrics", include_in_schema=False, sync_to_thread=False)
def get_metrics(request: AnyRequest) -> Response[bytes]:
    """Return the numbers of all workers in the Prometheus format."""
    backend = backend_of(request)
    text = backend.metrics.text(waiting=backend.waiting(), refused=backend.refused())
    return Response(text, media_type=CONTENT_TYPE)


ROUTES = [
    get_feed,
    get_similar,
    post_rank,
    get_item,
    post_events,
    put_user,
    put_users,
    put_item,
    put_items,
    get_health,
    get_ready,
    get_metrics,
]
"""All routes of the service."""


def _scored(pairs: Sequence[tuple[str, float | None]]) -> list[ScoredItem]:
    return [ScoredItem(item_id=item_id, score=score) for item_id, score in pairs]


def _check_batch(backend: Backend, n: int, where: str) -> None:
    check_number(n, backend.workspace.settings.server.max_batch, where, "[server] max_batch")


async def _put_users(backend: Backend, users: Sequence[UserIn]) -> Acknowledged:
    now = backend.workspace.clock.now()
    events = [
        UserPut(event_id=uuid.uuid4().hex, timestamp=now, user_id=user.user_id, properties=user.properties)
        for user in users
    ]
    return await _write(backend, events, "$.users")


async def _put_items(backend: Backend, items: Sequence[ItemIn]) -> Acknowledged:
    now = backend.workspace.clock.now()
    events = [
        ItemPut(event_id=uuid.uuid4().hex, timestamp=now, item_id=item.item_id, properties=item.properties)
        for item in items
    ]
    return await _write(backend, events, "$.items")


async def _write(backend: Backend, events: Sequence[AnyEvent], where: str) -> Acknowledged:
    _check_batch(backend, len(events), where)
    head = await backend.writer.write(events)
    backend.metrics.events(events)
    return Acknowledged(acknowledged=len(events), head=head)
