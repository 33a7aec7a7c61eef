"""Scheduler process of MindSpore's dynamic cluster under mpirun and srun: `scheduler.py PARENT`, see cluster.py."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # Linux: the signal that this process gets when its parent dies, even by kill -9

if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("rank 0 died before its scheduler had started")

    import mindspore as ms
    from mindspore.communication import init

    ms.set_device("CPU")
    init()
