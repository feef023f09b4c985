"""Actions over HTTP: which a user is likely to take."""

from litestar import get
from litestar.openapi.datastructures import ResponseSpec

from penchant.http.checks import filter_values_of, known_parameters, path_id
from penchant.http.reply import Reply
from penchant.http.routes import (
    Amount,
    AnyRequest,
    Explain,
    Filters,
    FilterValues,
    PathId,
    backend_of,
    refused,
)
from penchant.http.wire import ActionsAnswer, actions_answer

_PARAMETERS = ("k", "explain", "filter", "filter_values")


@get(
    "/v1/actions/{name:str}/{user:str}",
    summary="Actions to ask a user to take",
    tags=["actions"],
    responses={200: ResponseSpec(ActionsAnswer, description="The actions."), **refused(400, 404, 503)},
    sync_to_thread=False,
)
def get_actions(
    request: AnyRequest,
    name: PathId,
    user: PathId,
    k: Amount = 5,
    explain: Explain = False,
    filters: Filters = None,
    filter_values: FilterValues = None,
) -> Reply:
    """Return k actions by a table [actions.NAME] with the probability that the user takes each in time."""
    known_parameters(request, _PARAMETERS)
    backend = backend_of(request)
    answer = backend.serving.actions(
        path_id(name, "name"),
        path_id(user, "user"),
        k=k,
        filters=filters or (),
        filter_values=filter_values_of(filter_values or ()),
        explain=explain,
    )
    backend.metrics.feed(answer)
    return Reply(actions_answer(answer, explain=explain))


ACTION_ROUTES = [get_actions]
"""The routes of actions."""
