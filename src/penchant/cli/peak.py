"""The most memory this process used while a piece of work ran."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self, final

_STATUS = Path("/proc/self/status")


@final
class Peak:
    """Looks at the resident memory ten times a second.

    The kernel's own high-water mark cannot be used: training resets it to fill in the model cards.
    """

    def __init__(self) -> None:
        self.mb = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.mb = max(self.mb, _resident_mb())
            if self._done.wait(0.1):
                return


def _resident_mb() -> float:
    """Return the larger of now and the mark since it was last reset; 0 where the system does not tell."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return 0.0
    return max((float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), default=0.0)
