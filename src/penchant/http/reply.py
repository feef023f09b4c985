"""An answer on the way out: encoded once, sent as it is."""

from typing import final

import msgspec
from litestar.types import Receive, Scope, Send

from penchant.http.wire import Outgoing

_ENCODER = msgspec.json.Encoder()


@final
class Reply:
    """A success with a JSON body, for the route that is asked most.

    A route that returns a struct leaves choosing media type, encoder, headers and cookies to Litestar, for
    every request anew; that takes longer than the encoding.
    """

    __slots__ = ("_body",)

    def __init__(self, answer: Outgoing) -> None:
        self._body = _ENCODER.encode(answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        length = str(len(self._body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})
