"""AWS's error shapes: the type in a header and in the body, the sentence beside it."""

from typing import final

import msgspec
from litestar.response.base import ASGIResponse

from penchant.kernel.errors import Conflict, InputError, NotFound, NotReady, PenchantError

_TYPES: tuple[tuple[type[PenchantError], str], ...] = (
    (InputError, "InvalidInputException"),
    (NotFound, "ResourceNotFoundException"),
    (Conflict, "ResourceInUseException"),
    (NotReady, "ResourceInUseException"),
)


@final
class AwsError(Exception):
    """An answer in AWS's shape; ``kind`` is the exception's name in the service model."""

    def __init__(self, kind: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status


def invalid(message: str) -> AwsError:
    """Return InvalidInputException."""
    return AwsError("InvalidInputException", message)


def not_found(message: str) -> AwsError:
    """Return ResourceNotFoundException; HTTP 400 on the control plane is made 404 at run time."""
    return AwsError("ResourceNotFoundException", message, status=404)


def aws_error(error: PenchantError) -> AwsError:
    """Return one of our errors in AWS's words."""
    for type_, kind in _TYPES:
        if isinstance(error, type_):
            status = 409 if kind == "ResourceInUseException" else error.status
            return AwsError(kind, str(error), status=status)
    return AwsError("InternalServerException", "The service failed; its log says why.", status=500)


def aws_response(error: AwsError, *, control: bool) -> ASGIResponse:
    """Return the response; the control plane (JSON 1.1) answers every client error with 400, save 403."""
    status = 400 if control and error.status in (404, 409) else error.status
    return ASGIResponse(
        body=msgspec.json.encode({"__type": error.kind, "message": error.message}),
        status_code=status,
        media_type="application/x-amz-json-1.1" if control else "application/json",
        headers={"x-amzn-errortype": error.kind},
    )
