"""Runs the service: one listening socket, one or several worker processes, an orderly end."""

import contextlib
import errno
import logging
import multiprocessing
import multiprocessing.process
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping
from functools import partial
from pathlib import Path

import uvicorn
from litestar import Litestar
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from penchant.http.access import is_loopback, read_key
from penchant.http.app import create_app
from penchant.http.metrics import SHARED_FOLDER
from penchant.kernel.errors import Conflict, Defect, InputError
from penchant.workspace.service import Workspace

_BACKLOG = 2048
_DRAIN_SECONDS = 10
_LOGGER = logging.getLogger("penchant.http")
# Workers share the cores: a second level of threads inside each would only make them wait for each other.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def serve(
    workspace: Workspace,
    *,
    host: str,
    port: int,
    workers: int,
    on_listen: Callable[[str], None] | None = None,
) -> None:
    """Serve a workspace until SIGTERM or SIGINT; then finish open requests and write down what was served.

    All workers accept from one socket that is opened first, so a worker that dies takes no waiting
    connection with it; it is replaced. ``on_listen`` is told the address as soon as connections are taken.

    Raises:
        Conflict: the port is taken.
        InputError: the address cannot be used, others could reach it and there is no API key, or there are no
            workers.
        Defect: a worker did not start; its own words are in the log.
    """
    if workers < 1:
        raise InputError(f"{workers} workers cannot answer.", fix="Give 1 or more.")
    key = read_key(workspace.settings.server, workspace.folder)
    with (
        contextlib.closing(listen(host, port, with_key=key is not None)) as listening,
        _signals_kept() as early,
    ):
        if on_listen is not None:
            on_listen(url_of(listening))
        if workers == 1:
            server = _Server(_config(partial(create_app, workspace), 1), early)
            server.run([listening])
            _check_started(server.started)
        else:
            _supervise(workspace.folder, workers, listening, early)


def listen(host: str, port: int, *, with_key: bool) -> socket.socket:
    """Return a socket that takes connections; port 0 chooses a free one.

    Raises:
        Conflict: the port is taken.
        InputError: the address cannot be used, or others could reach it and there is no API key.
    """
    where = f"{host}:{port}"
    if not 0 <= port <= 65535:  # getaddrinfo would take the remainder
        raise InputError(
            "there is no such port.", where=where, fix="Ports are 1 to 65535; 0 takes a free one."
        )
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, OverflowError, UnicodeError) as error:
        raise InputError(f"there is no such address ({error}).", where=where) from error
    family, _, _, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    if not with_key and not is_loopback(str(address[0])):
        raise InputError(
            "others could reach this address and there is no API key.",
            where=where,
            fix="Set api_key_env under [server] in penchant.toml, or listen on 127.0.0.1.",
        )
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise Conflict(
                f"port {port} is taken by another program.",
                where=where,
                fix=f"Choose another: penchant serve --port {port % 65535 + 1}",
            ) from error
        raise InputError(f"cannot listen there ({error.strerror}).", where=where) from error
    return listening


def url_of(listening: socket.socket) -> str:
    """Return the address of a listening socket as a URL."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _config(factory: Callable[[], Litestar], workers: int) -> uvicorn.Config:
    return uvicorn.Config(
        factory,
        factory=True,
        workers=workers,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )


class _Server(uvicorn.Server):
    """A server that also ends when it was asked to before it listened to signals itself."""

    def __init__(self, config: uvicorn.Config, early: list[int]) -> None:
        super().__init__(config)
        self._early = early

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Take over the signals, those that came before included."""
        with super().capture_signals():
            self.should_exit = bool(self._early)
            yield


def _supervise(folder: Path, workers: int, listening: socket.socket, early: list[int]) -> None:
    shared = tempfile.mkdtemp(prefix="penchant-metrics-")
    try:
        with _environment({SHARED_FOLDER: shared, **_ONE_THREAD}):
            supervisor = Multiprocess(_config(partial(_worker, folder), workers), [listening])
            if early:
                supervisor.should_exit.set()
            supervisor.run()
    finally:
        shutil.rmtree(shared, ignore_errors=True)
    _check_started(all(process.exitcode != STARTUP_FAILURE for process in supervisor.processes))


def _check_started(started: bool) -> None:
    if not started:
        raise Defect("the service did not start.", fix="The reason is in the log above.")


def _worker(folder: Path) -> Litestar:
    """Return the app of one worker process, which ends when its supervisor does, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()
    return create_app(Workspace.open(folder))


def _end_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    _LOGGER.error("the supervisor is gone; this worker ends.")
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _signals_kept() -> Generator[list[int]]:
    """Let the server end on SIGINT and SIGTERM without dying of them: it raises them again at its end.

    Gives the list of those that came while no server listened to them.
    """
    taken: list[int] = []

    def take(number: int, frame: object) -> None:
        taken.append(number)

    kept = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
    every = {number: signal.getsignal(number) for number in signal.valid_signals()} | kept
    try:
        yield taken
    finally:
        for number, handler in every.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Generator[None]:
    """Set variables for the processes started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
