"""The process that brings a job's ranks together on a CPU under mpirun; rank 0 starts it, see cluster.py."""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # Linux: the signal that this process gets when its parent dies, by a kill -9 too

if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    import mindspore as ms
    from mindspore.communication import init

    ms.set_device("CPU")
    init()
