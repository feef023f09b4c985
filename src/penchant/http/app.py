"""The HTTP service of a workspace: Litestar with msgspec types, so the OpenAPI schema is the code's own."""

import time
from importlib.metadata import version
from typing import Any, final
from urllib.parse import quote

import msgspec
from litestar import Litestar, Request
from litestar.datastructures import State
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import Message, Receive, Scope, Send

from penchant.http.access import HEADER, Access, read_key
from penchant.http.actions import ACTION_ROUTES
from penchant.http.audience_jobs import AudienceJobs
from penchant.http.audience_store import AudienceStore
from penchant.http.audiences import AUDIENCE_ROUTES
from penchant.http.backend import Backend
from penchant.http.errors import HANDLERS, Problem, error_response
from penchant.http.metrics import Metrics
from penchant.http.personalize.routes import PATHS as SIGNED_PATHS
from penchant.http.personalize.routes import ROUTES as PERSONALIZE_ROUTES
from penchant.http.personalize.routes import Personalize
from penchant.http.personas import PERSONA_ROUTES
from penchant.http.routes import ROUTES
from penchant.kernel.errors import InputError
from penchant.kernel.misfit import misfit
from penchant.workspace.service import Workspace

_DESCRIPTION = """
Feeds, similar items and rankings of one Penchant workspace, and the events they learn from.

An event is acknowledged when it is on disk, and the user's next feed has seen it. What is served is logged
under its `request_id`; name it as `recommendation_id` in the events that follow from it.

Every answer that is not a success has the body `{"error": {"code", "message", "where", "fix"}}`.
"""


@final
class StrictRequest(Request[Any, Any, State]):
    """Reads a JSON body straight into the type of the route's ``data``, without coercing anything."""

    async def json(self) -> Any:
        """Return the body as the type that the route declares.

        Raises:
            InputError: it is not JSON of that form; the message has the place.
        """
        field = self.route_handler.parsed_data_field
        kind = Any if field is None else field.annotation
        body = await self.body()
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.ValidationError as error:
            try:
                raw = msgspec.json.decode(body)
            except (msgspec.DecodeError, UnicodeError, RecursionError):  # what stands behind the first fault
                raw = None
            found = misfit(error, raw, kind)
            raise InputError(f"{found.what}.", where=f"${found.place}", fix=found.fix or None) from error
        except msgspec.DecodeError as error:
            raise InputError(f"{error}.", where="$") from error
        except (UnicodeError, RecursionError) as error:
            raise InputError("the body is not UTF-8 JSON of a sane depth.", where="$") from error


@final
class Service(Litestar):
    """The app: checks the key, routes on the path as it was sent and counts each request.

    A router splits a decoded path at each ``/``, so an id with one in it would be cut. Here the path stays
    percent-encoded until the route has its segments.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - lifespan scopes pass through
        """Answer one request."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        begun = time.perf_counter()
        status = 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        raw = scope.get("raw_path")
        scope["path"] = quote(scope["path"]) if raw is None else raw.split(b"?", 1)[0].decode("latin-1")
        try:
            access: Access = self.state.access
            if scope["path"] in SIGNED_PATHS or access.allows(scope["path"], scope["headers"]):
                await super().__call__(scope, receive, counted)
            else:
                await _UNAUTHORIZED(scope, receive, counted)
        finally:
            backend: Backend = self.state.backend
            route = scope.get("path_template") or "none"
            backend.metrics.request(scope["method"], route, status, time.perf_counter() - begun)


_UNAUTHORIZED = error_response(
    401,
    Problem(
        code="unauthorized",
        message="this needs an API key.",
        fix=f"Send the right one in the header {HEADER}.",
    ),
)


def create_app(workspace: Workspace) -> Litestar:
    """Return the ASGI app that serves a workspace.

    Raises:
        InputError: an API key or secret that the settings name is missing or empty.
    """
    settings = workspace.settings.server
    backend = Backend(workspace, Metrics())
    key = read_key(settings, workspace.folder)
    personalize = Personalize(backend, open_to_all=key is None)
    audiences = AudienceJobs(AudienceStore(workspace.folder), workspace.clock)
    return Service(
        [*ROUTES, *ACTION_ROUTES, *PERSONA_ROUTES, *AUDIENCE_ROUTES, *PERSONALIZE_ROUTES],
        state=State(
            {"backend": backend, "access": Access(key), "personalize": personalize, "audiences": audiences}
        ),
        lifespan=[backend.lifespan, personalize.lifespan, audiences.lifespan],
        request_class=StrictRequest,
        request_max_body_size=settings.max_body_kb * 1024,
        exception_handlers=HANDLERS,
        openapi_config=_openapi(with_key=key is not None),
        logging_config=None,
    )


def _openapi(*, with_key: bool) -> OpenAPIConfig:
    scheme = SecurityScheme(type="apiKey", name=HEADER, security_scheme_in="header")
    return OpenAPIConfig(
        title="Penchant",
        version=version("penchant"),
        description=_DESCRIPTION.strip(),
        path="/openapi.json",
        render_plugins=[JsonRenderPlugin(path="/")],
        components=Components(security_schemes={"key": scheme}) if with_key else Components(),
        security=[{"key": []}] if with_key else None,
        use_handler_docstrings=True,
    )
