"""Trains two steps of a tiny network under every launcher that is installed, with 2 and with 8 ranks.

    python tests/distributed/all_launchers.py [--ranks 2 8]

All launchers must give the same losses for a number of ranks. Prints a line for each; exit status 1 if one fails. Eight
ranks on two cores take minutes.
"""

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(Path(__file__).parent)]

from test_several_ranks import CONFIG_FILE, TINY, loopback_only

PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
_RANK_VARIABLES = ("OMPI_", "PMIX_", "PMI_", "SLURM_", "MS_", "RANK")


def launchers(ranks: int, folder: Path) -> dict[str, list[str]]:
    """Returns {name: command to which the script and its arguments are added}."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    python, alone = [sys.executable], loopback_only()
    mpi = ["--allow-run-as-root", "--oversubscribe", "-n", str(ranks), *python]
    msrun = ["msrun", f"--worker_num={ranks}", f"--local_worker_num={ranks}", f"--master_port={port}"]
    slurm = ["bash", "tests/distributed/one_node_slurm.sh", "srun", "--kill-on-bad-exit", "--overcommit"]
    commands = {
        "Open MPI 5": [*alone, "prterun", "--personality", "ompi", *mpi],
        "Open MPI 4": [*alone, "mpirun.openmpi", *mpi],
        "mpiexec.hydra": [*alone, "mpiexec.hydra", "-n", str(ranks), *python],
        "srun": [*slurm, "-n", str(ranks), *python],
        "msrun": [*msrun, "--join=True", f"--log_dir={folder / 'msrun'}"],
        "rank table": [*python, "tests/distributed/rank_table_job.py", str(ranks)],
    }
    needed = {"Open MPI 5": "prterun", "Open MPI 4": "mpirun.openmpi", "rank table": sys.executable}
    return {name: command for name, command in commands.items() if shutil.which(needed.get(name, name), path=PATH)}


def train(command: list[str], data: Path, save_dir: Path) -> tuple[int, float, str]:
    """Returns status, seconds, and the losses or the end of the output."""
    flags = ["--config", CONFIG_FILE, "--data_root", data, *TINY, "--batch_size", 2, "--ms_mode", 1, "--total_step", 2]
    # with one crop of 32 x 64, BatchNorm has 2 pixels in the last branch: a rounding then changes gradients by percents
    flags += ["--set", "data.crop_size=[64,128]"]
    flags += ["--set", "train.sync_batch_norm=False", "--save_dir", save_dir]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_RANK_VARIABLES)}
    began = time.monotonic()
    ended = subprocess.run(
        [*command, "train.py", *map(str, flags)],
        cwd=ROOT,
        env={**environment, "PATH": PATH},
        capture_output=True,
        text=True,
        timeout=900,
    )
    seconds = time.monotonic() - began
    if ended.returncode:
        return ended.returncode, seconds, ended.stderr[-1000:]
    losses = re.findall(r"loss: [\d.]+", (save_dir / "train.log").read_text())
    return 0, seconds, ", ".join(losses)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 8])
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "data"
        flags = ["--output", data, "--train", "16", "--val", "2", "--width", "128", "--height", "64"]
        make_data = [sys.executable, ROOT / "scripts/make_demo_data.py", *flags]
        subprocess.run(make_data, check=True, stdout=subprocess.DEVNULL)
        for ranks in parser.parse_args().ranks:
            results = set()
            for launcher, command in launchers(ranks, folder).items():
                status, seconds, result = train(command, data, folder / f"{launcher} {ranks}")
                print(f"{ranks} ranks, {launcher}: status {status}, {seconds:.0f} s, {result}", flush=True)
                results.add((status, result))
            failed |= len(results) > 1 or {status for status, _ in results} != {0}
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
