"""The paths that Amazon's clients call, on the same port as everything else."""

import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, final

import msgspec
from litestar import Litestar, Request, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.response.base import ASGIResponse

from penchant.http.backend import Backend
from penchant.http.personalize.actions import ActionRuntime
from penchant.http.personalize.attributions import Attributions
from penchant.http.personalize.control import Control
from penchant.http.personalize.desk import Desk
from penchant.http.personalize.errors import AwsError, aws_error, aws_response, invalid
from penchant.http.personalize.groups import Groups
from penchant.http.personalize.jobs import Jobs
from penchant.http.personalize.requests import Access
from penchant.http.personalize.runtime import Runtime
from penchant.http.personalize.sigv4 import Signed, verify
from penchant.http.personalize.store import Store
from penchant.kernel.errors import InputError, PenchantError
from penchant.workspace.settings import PersonalizeSettings

_TARGET = "AmazonPersonalize."
Answer: TypeAlias = Callable[[bytes, Access], Awaitable[dict[str, Any]]]


@final
class Personalize:
    """The drop-in of one worker. ``open_to_all`` says that nothing but loopback can reach the server."""

    def __init__(self, backend: Backend, *, open_to_all: bool) -> None:
        workspace = backend.workspace
        settings = workspace.settings.personalize
        self._clock = workspace.clock
        self._secrets = read_secrets(settings)
        self._access = {
            key.access_key_id: Access(frozenset(key.groups) if key.groups else None) for key in settings.keys
        }
        self._open_to_all = open_to_all and not settings.keys
        self.store = Store(workspace.folder)
        self._groups = Groups(backend)
        self._jobs = Jobs(self.store, self._clock, workspace.folder)
        desk = Desk(
            store=self.store,
            groups=self._groups,
            jobs=self._jobs,
            clock=self._clock,
            buckets=settings.buckets,
        )
        attributions = Attributions(desk)
        self.control = Control(desk, attributions)
        runtime = Runtime(desk, attributions.noticed)
        actions = ActionRuntime(runtime)
        self.runtime: dict[str, Answer] = {
            "/recommendations": runtime.recommendations,
            "/personalize-ranking": runtime.ranking,
            "/events": runtime.events,
            "/items": runtime.items,
            "/users": runtime.users,
            "/action-recommendations": actions.recommendations,
            "/actions": actions.put,
            "/action-interactions": actions.interactions,
        }

    @asynccontextmanager
    async def lifespan(self, app: Litestar) -> AsyncGenerator[None]:
        """Take up jobs that were left; stop jobs and close groups in the end."""
        del app
        try:
            self._jobs.begin()
            yield
        finally:
            await self._jobs.close()
            await self._groups.close()
            self.store.close()

    def access(self, request: "Request[Any, Any, State]", body: bytes) -> Access:
        """Return what the signer of a request may touch.

        Raises:
            AwsError: it is not signed by a key of the settings.
        """
        if self._open_to_all:
            return Access(None)
        key = verify(
            Signed(
                method=request.method,
                path=request.scope["path"],
                query=request.scope["query_string"].decode("latin-1"),
                headers={name.lower(): value for name, value in request.headers.items()},
                body=body,
            ),
            self._secrets,
            now=self._clock.now(),
        )
        return self._access[key]


def read_secrets(settings: PersonalizeSettings) -> dict[str, str]:
    """Return access key id -> secret key from the environment.

    Raises:
        InputError: a variable is missing or empty.
    """
    secrets: dict[str, str] = {}
    for key in settings.keys:
        secret = os.environ.get(key.secret_env, "")
        if not secret:
            raise InputError(
                f"the secret of {key.access_key_id} is missing.",
                where=f"environment variable {key.secret_env}",
                fix="Set it, or remove the key from [personalize].",
            )
        secrets[key.access_key_id] = secret
    return secrets


@post(
    [
        "/recommendations",
        "/personalize-ranking",
        "/events",
        "/items",
        "/users",
        "/action-recommendations",
        "/actions",
        "/action-interactions",
    ],
    include_in_schema=False,
)
async def post_runtime(request: Request[Any, Any, State]) -> ASGIResponse:
    """Answer personalize-runtime and personalize-events."""
    service: Personalize = request.app.state.personalize
    path = request.scope["path"]

    async def work(body: bytes, access: Access) -> dict[str, Any]:
        return await service.runtime[path](body, access)

    return await _answered(request, service, work, control=False)


@post("/", include_in_schema=False)
async def post_control(request: Request[Any, Any, State]) -> ASGIResponse:
    """Answer the control plane."""
    service: Personalize = request.app.state.personalize
    target = request.headers.get("x-amz-target", "")

    async def work(body: bytes, access: Access) -> dict[str, Any]:
        if not target.startswith(_TARGET):
            raise AwsError("UnknownOperationException", "X-Amz-Target must be AmazonPersonalize.<Operation>.")
        return await service.control.answer(target.removeprefix(_TARGET), body, access)

    return await _answered(request, service, work, control=True)


ROUTES = [post_runtime, post_control]
"""The routes of the drop-in."""


async def _answered(
    request: Request[Any, Any, State], service: Personalize, work: Answer, *, control: bool
) -> ASGIResponse:
    try:
        body = await request.body()
        answer = await work(body, service.access(request, body))
    except AwsError as error:
        return aws_response(error, control=control)
    except PenchantError as error:
        if error.status >= 500 and error.status != 503:
            raise
        return aws_response(aws_error(error), control=control)
    except HTTPException as error:
        return aws_response(invalid(error.detail), control=control)
    return ASGIResponse(
        body=msgspec.json.encode(answer),
        status_code=200,
        media_type="application/x-amz-json-1.1" if control else "application/json",
    )


PATHS = frozenset({"/", *post_runtime.paths})
"""Paths that are opened by a signature, not by the API key."""
