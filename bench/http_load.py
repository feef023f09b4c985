"""A load generator for one HTTP server on the loopback: keep-alive connections, each asking one at a time.

A closed loop: a connection sends its next request when it has read the whole answer to the one before, so the
requests in flight are never more than the connections.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import cast

import numpy as np
import uvloop


class _Client(asyncio.Protocol):
    """One connection: raw HTTP/1.1, answers framed by Content-Length as both servers send it."""

    def __init__(self, requests: Sequence[bytes], first: int, step: int) -> None:
        self.requests = requests
        self.next = first
        self.step = step
        self.seconds: list[float] = []
        self.failures = 0
        self.bytes = 0
        self.stopping = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._buffer = b""
        self._need = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        self._begun = time.perf_counter()
        self.transport.write(self.requests[self.next % len(self.requests)])
        self.next += self.step

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data if self._buffer else data
        if self._need < 0:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = buffer[:end].lower()
            at = head.index(b"content-length:") + 15
            self._need = end + 4 + int(head[at:].split(b"\r\n", 1)[0])
            self.failures += buffer[9:12] != b"200"
        if len(buffer) < self._need:
            return
        self.bytes += self._need
        self._buffer, self._need = b"", -1
        self.seconds.append(time.perf_counter() - self._begun)
        if self.stopping:
            self.transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.stopping:
            self.failures += 1
        if not self.done.done():
            self.done.set_result(None)


async def _drive(port: int, requests: Sequence[bytes], seconds: float, connections: int) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    clients: list[_Client] = []
    begun = time.perf_counter()
    for i in range(connections):
        _, client = await loop.create_connection(
            lambda i=i: _Client(requests, i, connections), "127.0.0.1", port
        )
        clients.append(client)
    await asyncio.sleep(seconds)
    for client in clients:
        client.stopping = True
    await asyncio.wait([client.done for client in clients], timeout=10)
    wall = time.perf_counter() - begun
    taken = np.concatenate([client.seconds for client in clients])
    p50, p99 = np.percentile(taken, [50, 99])
    return {
        "requests": len(taken),
        "per_second": len(taken) / wall,
        "p50_ms": 1e3 * float(p50),
        "p99_ms": 1e3 * float(p99),
        "max_ms": 1e3 * float(taken.max()),
        "failures": sum(client.failures for client in clients),
        "bytes_each": sum(client.bytes for client in clients) / len(taken),
    }


def get(path: str) -> bytes:
    """Return the bytes of a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n\r\n".encode()


def drive(port: int, requests: Sequence[bytes], *, seconds: float, connections: int = 8) -> dict[str, float]:
    """Send ``requests`` over and over for ``seconds``; return rates, latencies and failures.

    ``failures`` counts answers other than 200 and connections the server closed.
    """
    return uvloop.run(_drive(port, requests, seconds, connections))
