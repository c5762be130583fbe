"""Become another program: drop privileges, tie our life to the parent's, exec.

Run as a script by its path (`python -I -S launcher.py ORDER PROGRAM [ARG...]`), so it imports nothing of the app and
starts in about 20 ms. ORDER is JSON, made by :func:`app.processes.spawn`.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    # All that is needed is imported by now: the lesser account may be unable to read our Python's library.
    order = json.loads(sys.argv[1])
    program = sys.argv[2:]
    try:
        if order["uid"] is not None:
            _become(order["uid"], order["gid"])
        # After the change of account, because the kernel forgets the signal when the credentials change.
        if sys.platform == "linux":
            _die_with(order["parent"], order["death_signal"])
        # Python ignores these two, and what is ignored stays ignored through exec.
        # A shell's background job ignores SIGINT, and its children inherit that: not the signal that is to end them.
        signal.signal(order["death_signal"], signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        os.execv(program[0], program)
    except OSError as error:
        sys.exit(f"could not start {program[0]}: {error}")


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    os.umask(0o077)


def _die_with(parent: int, death_signal: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it died before we had asked to be told
        sys.exit("the parent is gone")


if __name__ == "__main__":
    main()
