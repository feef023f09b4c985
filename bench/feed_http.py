"""The same feeds asked for over HTTP, one worker a catalogue: what each request takes, wall and CPU."""

import contextlib
import socket
import time
import urllib.parse
from pathlib import Path
from typing import Any, final

import numpy as np

from bench.bench_http import free_port, measure, penchant, running
from bench.http_load import get
from penchant.kernel.arrays import F64

K = 25
ASKED = {
    "plain": {},
    "filtered and promoted": {"filter": "wanted", "filter_values": "most=80", "promotion": "on_sale:20"},
}
SIDES = (("small", "plain"), ("large", "plain"), ("large", "filtered and promoted"))
CONNECTIONS = 8


def path(user: str, asked: dict[str, str]) -> str:
    return f"/v1/feeds/home/{user}?{urllib.parse.urlencode({'k': str(K), **asked})}"


@final
class Caller:
    """One keep-alive connection that asks and waits for the whole answer."""

    def __init__(self, port: int, pid: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._clock = Path(f"/proc/{pid}/schedstat")

    def times(self, requests: list[bytes]) -> tuple[F64, F64]:
        """Return (n,) milliseconds of each request: on the wall here, and of the server's processor.

        The server answers on its main thread, whose time on a processor the kernel counts in nanoseconds;
        what it does after it answered counts for the next request.
        """
        wall = np.empty(len(requests))
        cpu = np.empty(len(requests) + 1)
        cpu[0] = self._spent()
        for i, request in enumerate(requests):
            begun = time.perf_counter()
            self._socket.sendall(request)
            self._read()
            wall[i] = (time.perf_counter() - begun) * 1e3
            cpu[i + 1] = self._spent()
        return wall, np.diff(cpu) / 1e6

    def _spent(self) -> int:
        return int(self._clock.read_bytes().split()[0])

    def _read(self) -> None:
        answer = b""
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += self._socket.recv(1 << 16)
        head = answer[:end].lower()
        assert head.startswith(b"http/1.1 200"), answer[:500]
        length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        while len(answer) < end + 4 + length:
            answer += self._socket.recv(1 << 16)


def over_http(small: Path, large: Path, users: list[str], *, rounds: int, seconds: float) -> dict[str, Any]:
    """Compare the sides in turn: one connection asking each round for some users, then eight at once."""
    parts = np.array_split(np.array(users), rounds + 1)
    alone: dict[str, list[tuple[F64, F64]]] = {}
    loaded: dict[str, list[dict[str, float]]] = {}
    with contextlib.ExitStack() as stack:
        at: dict[str, tuple[int, int, Caller]] = {}
        for name, folder in (("small", small), ("large", large)):
            port = free_port()
            pid = stack.enter_context(running(penchant(folder, port), port, "/v1/ready", {}))
            at[name] = port, pid, Caller(port, pid)
        for i, part in enumerate(parts):
            for where, what in SIDES if i % 2 else SIDES[::-1]:
                found = at[where][2].times([get(path(user, ASKED[what])) for user in part.tolist()])
                if i:  # the first round loads compiled code and makes columns
                    alone.setdefault(f"{where}, {what}", []).append(found)
        for i in range(rounds):
            for where, what in SIDES if i % 2 else SIDES[::-1]:
                port, pid, _ = at[where]
                paths = [path(user, ASKED[what]) for user in users]
                loaded.setdefault(f"{where}, {what}", []).append(
                    measure(pid, port, paths, seconds, CONNECTIONS)
                )
    return summary(alone, loaded)


def summary(
    alone: dict[str, list[tuple[F64, F64]]], loaded: dict[str, list[dict[str, float]]]
) -> dict[str, Any]:
    """Return percentiles of each side and the p99 ratios of the promoted feed to the small plain one."""
    result: dict[str, Any] = {}
    for name, found in alone.items():
        wall, cpu = (np.concatenate(times) for times in zip(*found, strict=True))
        p50, p99 = np.percentile(wall, [50, 99])
        cpu50, cpu99 = np.percentile(cpu, [50, 99])
        result[name] = {
            "p50_ms": float(p50),
            "p99_ms": float(p99),
            "cpu_p50_ms": float(cpu50),
            "cpu_p99_ms": float(cpu99),
            **{
                f"loaded_{key}": float(np.median([one[key] for one in loaded[name]]))
                for key in ("p50_ms", "p99_ms", "per_second")
            },
        }
        print(f"  HTTP {name}: " + ", ".join(f"{k} {v:.2f}" for k, v in result[name].items()), flush=True)
    dear, plain = "large, filtered and promoted", "small, plain"
    ratios = {
        "p99_ms": [_p99(a[0]) / _p99(b[0]) for a, b in zip(alone[dear], alone[plain], strict=True)],
        "cpu_p99_ms": [_p99(a[1]) / _p99(b[1]) for a, b in zip(alone[dear], alone[plain], strict=True)],
        "loaded_p99_ms": [
            a["p99_ms"] / b["p99_ms"] for a, b in zip(loaded[dear], loaded[plain], strict=True)
        ],
    }
    result["ratio"] = {
        name: {"median": float(np.median(each)), "min": min(each), "max": max(each)}
        for name, each in ratios.items()
    }
    print(f"  HTTP ratios {result['ratio']}", flush=True)
    return result


def _p99(values: F64) -> float:
    return float(np.percentile(values, 99))
