"""One shape for all that goes wrong, whoever noticed it: ``{"error": {code, message, where, fix}}``."""

import logging
import re
from http import HTTPStatus
from typing import Any, cast

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException, ValidationException
from litestar.response.base import ASGIResponse
from litestar.types import ExceptionHandlersMap

from penchant.kernel.errors import PenchantError

_LOGGER = logging.getLogger("penchant.http")
_CODES = {401: "unauthorized", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
_FIXES = {
    404: "The paths of this service are listed in /openapi.json.",
    405: "The methods of each path are listed in /openapi.json.",
    413: "Send fewer events or items at once; the limit is [server] max_body_kb in penchant.toml.",
}


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong, where (a field, a row, a file) and how to mend it."""

    code: str
    message: str
    where: str | None = None
    fix: str | None = None


class ErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every answer that is not a success."""

    error: Problem


def error_response(status: int, problem: Problem, headers: dict[str, str] | None = None) -> ASGIResponse:
    """Return the response for a problem."""
    return ASGIResponse(
        body=msgspec.json.encode(ErrorAnswer(error=problem)),
        status_code=status,
        media_type="application/json",
        headers=headers,
    )


def snake(name: str) -> str:
    """Return ``NotFound`` as ``not_found``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def problem_of(error: Exception) -> tuple[int, Problem]:
    """Return the status and the problem for any exception.

    What is not the caller's fault and not on purpose is said in general words only: its details belong in
    the server's log.
    """
    if isinstance(error, PenchantError) and error.status != HTTPStatus.INTERNAL_SERVER_ERROR:
        problem = Problem(
            code=snake(type(error).__name__), message=error.what, where=error.where, fix=error.fix
        )
        return error.status, problem
    if isinstance(error, ValidationException):
        return 400, _validation(error)
    if isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        status = error.status_code
        code = _CODES.get(status, "input_error")
        message = f"{HTTPStatus(status).phrase.lower()}." if status in _CODES else error.detail
        return status, Problem(code=code, message=message, fix=_FIXES.get(status))
    return 500, Problem(
        code="defect", message="the service failed.", fix="The details are in the server's log."
    )


def _validation(error: ValidationException) -> Problem:
    """Say the first of the problems that Litestar found in the parameters."""
    found = cast("list[dict[str, str]]", error.extra or [])
    if not found:
        return Problem(code="input_error", message=error.detail)
    if found[0].get("key") == "data":
        return Problem(code="input_error", message="this needs a JSON body.", where="$")
    return Problem(code="input_error", message=found[0]["message"], where=found[0].get("key"))


def _handle(request: Request[Any, Any, Any], error: Exception) -> Any:
    status, problem = problem_of(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        # The path template, not the path: ids of users do not belong in a log.
        _LOGGER.error("%s %s failed", request.method, request.scope.get("path_template"), exc_info=error)
    headers = error.headers if isinstance(error, HTTPException) else None
    return _Ready(error_response(status, problem, headers))


class _Ready:
    """An `ASGIResponse` where Litestar expects something that turns into one."""

    def __init__(self, response: ASGIResponse) -> None:
        self._response = response

    def to_asgi_response(self, **_: object) -> ASGIResponse:
        return self._response


HANDLERS: ExceptionHandlersMap = {Exception: _handle, HTTPException: _handle}
"""The exception handlers of the app."""
