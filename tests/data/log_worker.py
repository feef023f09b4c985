"""For the kill test: for every line "folder round" on stdin it forks a worker that uses the log hard.

The worker says on stdout what it is about to store and what was acknowledged, one short line each, which
a pipe keeps whole. Forking saves each round the imports; nothing here starts a thread before the fork.
"""

import os
import random
import sys
import threading
from pathlib import Path

from penchant.data.sqlite_log import SqliteLog
from penchant.testing.log_contract import acted, actions


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def append(log: SqliteLog, name: str, rng: random.Random) -> None:
    for n in range(100_000):
        batch, size = f"{name}a{n}", rng.randrange(1, 8)
        say("try", batch, size)
        assert log.append([acted(f"{batch}:{i}") for i in range(size)]).stored == size
        say("ack", batch, size)


def seal_and_import(log: SqliteLog, name: str, rng: random.Random) -> None:
    for n in range(100_000):
        if rng.random() < 0.6:
            log.seal(keep=rng.randrange(5))
        else:
            batch, size = f"{name}b{n}", rng.randrange(1, 40)
            say("try", batch, size)
            rows = actions([("u", "i", 1.0)] * size, [f"{batch}:{i}" for i in range(size)])
            assert log.append_bulk("acted", [rows]).stored == size
            say("ack", batch, size)


def work(folder: Path, name: str) -> None:
    log, rng = SqliteLog.open(folder), random.Random(name)
    threading.Thread(target=append, args=(log, name, random.Random(f"{name}-appends")), daemon=True).start()
    seal_and_import(log, name, rng)


for line in sys.stdin:
    folder, name = line.split()
    child = os.fork()
    if child == 0:
        try:
            work(Path(folder), name)
        finally:
            os._exit(1)
    say("pid", child)
    os.waitpid(child, 0)
    say("gone")
