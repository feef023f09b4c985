"""Runs a module as ``python -m`` does, and ends with whoever started it.

``python -m penchant.http.personalize.child FD MODULE ARGUMENT ...``: FD is the reading end of a pipe whose
other end the starter holds. Nothing is ever written; the end of it is the end of the starter, however it
came. What a module was doing then is left as a kill leaves it, which all of them are made for.
"""

import os
import runpy
import sys
import threading


def _end_with(pipe: int) -> None:
    os.read(pipe, 1)
    os._exit(1)


def main() -> None:
    """Run the module named by the arguments."""
    pipe, module = int(sys.argv[1]), sys.argv[2]
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
