"""Personas over HTTP: who they are, and a feed for each that any cache may keep."""

from typing import Annotated, TypeAlias

import msgspec
from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, PathParameter, QueryParameter

from penchant.http.checks import known_parameters
from penchant.http.routes import Amount, AnyRequest, backend_of, refused
from penchant.http.wire import Outgoing, ScoredItem
from penchant.kernel.errors import NotFound

Recipe: TypeAlias = Annotated[
    str | None, QueryParameter(description="The recipe whose personas; by default the first that has any.")
]
PersonaId: TypeAlias = Annotated[str, PathParameter(description="A persona's id, a number.", max_length=9)]
Known: TypeAlias = Annotated[
    str | None, HeaderParameter(name="If-None-Match", description="The ETag of the answer one has.")
]


class PersonaIn(Outgoing, frozen=True, kw_only=True):
    """One persona: how many users belong to it, and which share of those with known attributes."""

    id: int
    users: int
    share: float


class PersonasAnswer(Outgoing, frozen=True, kw_only=True):
    """The personas of a model.

    ``loss_new`` and ``loss_known`` are what a persona's feed loses in NDCG at 20 against each user's own, for
    users without and with a history, on the replay at training; null where there was nothing to replay.
    """

    model: str
    model_version: str
    personas: list[PersonaIn]
    loss_new: float | None
    loss_known: float | None


class PersonaFeedAnswer(Outgoing, frozen=True, kw_only=True):
    """What a persona's users want on average, best first."""

    persona: int
    model: str
    items: list[ScoredItem]


@get(
    "/v1/personas",
    summary="The personas",
    tags=["personas"],
    responses=refused(400, 404, 503),
    sync_to_thread=False,
)
def get_personas(request: AnyRequest, model: Recipe = None) -> PersonasAnswer:
    """Return the groups of users that are served by what they are; ids last across trainings."""
    known_parameters(request, ("model",))
    serving = backend_of(request).serving
    name, personas, losses = serving.personas(model)
    return PersonasAnswer(
        model=name,
        model_version=serving.model_version,
        personas=[PersonaIn(id=one.id, users=one.users, share=one.share) for one in personas],
        loss_new=losses.get("new"),
        loss_known=losses.get("known"),
    )


@get(
    "/v1/personas/{persona:str}/feed",
    summary="A persona's feed",
    tags=["personas"],
    responses={
        200: ResponseSpec(PersonaFeedAnswer, description="The feed, with an ETag and how long it lasts."),
        **refused(400, 404, 503),
    },
    sync_to_thread=False,
)
def get_persona_feed(
    request: AnyRequest, persona: PersonaId, k: Amount = 25, model: Recipe = None, if_none_match: Known = None
) -> Response[bytes]:
    """Return the same k items to all who ask, of no single user; nothing is logged, and caches may keep it.

    An If-None-Match that names the ETag is answered by 304 without a body.
    """
    known_parameters(request, ("k", "model"))
    backend = backend_of(request)
    if not persona.isdecimal():
        raise NotFound(f"there is no persona '{persona}': ids are numbers.")
    feed = backend.serving.persona_feed(int(persona), k, model=model)
    seconds = backend.workspace.settings.serving.persona_seconds
    headers = {"ETag": f'"{feed.tag}"', "Cache-Control": f"public, max-age={seconds:.0f}"}
    if if_none_match is not None and _holds(if_none_match, feed.tag):
        return Response(b"", status_code=304, headers=headers)
    answer = PersonaFeedAnswer(
        persona=feed.persona,
        model=feed.model,
        items=[ScoredItem(item_id=item_id, score=score) for item_id, score in feed.items],
    )
    return Response(msgspec.json.encode(answer), media_type="application/json", headers=headers)


PERSONA_ROUTES = [get_personas, get_persona_feed]


def _holds(asked: str, tag: str) -> bool:
    """Return whether one of the tags of If-None-Match is this one; ``*`` is any, W/ does not matter."""
    tags = [one.strip().removeprefix("W/") for one in asked.split(",")]
    return "*" in tags or f'"{tag}"' in tags
