"""The process of a trial: ``embedft train`` with the arguments given, which ends when its parent ends.

Started with a pipe as its standard input and as the leader of its own process group. The other end of the pipe is open
as long as the parent lives; when it closes, also by ``kill -9``, the whole group is killed. Otherwise a trial whose
study was killed would train on, and stand in the way of the study that goes on with it.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _end_with_parent() -> None:
    # Not through sys.stdin: its lock would be held when the interpreter ends.
    while os.read(0, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = ["embedft", "train", *sys.argv[1:]]
    runpy.run_module("embedft", run_name="__main__", alter_sys=True)
