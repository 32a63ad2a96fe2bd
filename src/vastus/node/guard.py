"""Run a program that must not outlive the node: ``guard.py PARENT_PID PROGRAM ARGUMENT...``.

Run as a script, so that nothing else is loaded. On Linux the kernel kills the program when the node dies, even by
``kill -9``: a worker that went on alone could finish a series that the next node begins again.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)  # the node died before the line above
    os.execvp(sys.argv[2], sys.argv[2:])
