"""A job with a failing rank, to be started by a launcher: prints all ranks, then rank 1 fails with an error."""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from ocrnet.distributed import launcher
from ocrnet.distributed.collectives import all_gather_object
from ocrnet.errors import UserError
from ocrnet.runtime import device, program

CHILD = "from ocrnet.distributed import launcher; launcher.require_known_launcher(); print(launcher.ranks().size)"


def main() -> None:
    device.init("CPU")
    me = launcher.ranks()
    environment = {**os.environ, "PYTHONPATH": sys.path[0]}
    child = subprocess.run([sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True, check=True)
    print(
        *all_gather_object((me.rank, me.size, me.local_rank, me.local_size, int(child.stdout))),
        launcher.detect_launcher(),
        sep="\n",
    )
    if me.rank == 1:
        raise UserError("rank 1 fails on purpose")
    all_gather_object(None)


if __name__ == "__main__":
    sys.exit(program.run(main))
