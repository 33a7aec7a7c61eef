"""scripts/run_*.sh pass their arguments on; stand-ins for python and mpirun print what they are given."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = {
    "Open MPI 4": "mpirun (Open MPI) 4.1.4",
    "Open MPI 5": "mpirun (Open MPI) 5.0.3",
    "MPICH": "HYDRA build details:\n    Version: 4.0.2",
}


@pytest.fixture
def run(tmp_path):
    """Runs a script from another folder."""

    def run_with(script: str, *arguments: str, mpi: str = "Open MPI 4", **environment: str):
        for name, answer in (("python", ""), ("mpirun", VERSIONS[mpi])):
            program = tmp_path / name
            program.write_text(
                f'#!/bin/sh\nif [ "$1" = --version ]; then echo "{answer}"; else echo "$(pwd): {name} $*"; fi\n'
            )
            program.chmod(0o755)
        variables = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | environment
        command = ["bash", ROOT / "scripts" / script, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60)

    return run_with


@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        ("run_standalone_train.sh", "a.yml --seed 3", "python train.py --config a.yml --seed 3"),
        ("run_eval.sh", "a.yml b.ckpt --split test", "python eval.py --config a.yml --ckpt_path b.ckpt --split test"),
    ],
)
def test_one_process(run, script, arguments, expected):
    done = run(script, *arguments.split())
    assert (done.returncode, done.stdout) == (0, f"{ROOT}: {expected}\n"), done.stderr


@pytest.mark.parametrize(
    ("mpi", "options", "hosts"),
    [
        ("Open MPI 4", "--allow-run-as-root --quiet --mca odls_base_sigkill_timeout 20 ", "--hostfile nodes -x PATH "),
        ("Open MPI 5", "--allow-run-as-root --prtemca odls_base_sigkill_timeout 20 ", "--hostfile nodes -x PATH "),
        ("MPICH", "", "-f nodes "),
    ],
)
def test_several_devices(run, mpi, options, hosts):
    done = run("run_distribute_train.sh", "8", "a.yml", "--seed", "3", mpi=mpi, HOSTFILE="")
    assert done.stdout == f"{ROOT}: mpirun {options}-n 8 python train.py --config a.yml --seed 3\n", done.stderr
    done = run("run_distribute_train.sh", "16", "a.yml", mpi=mpi, HOSTFILE="nodes", PYTHON="py")
    assert done.stdout == f"{ROOT}: mpirun {options}{hosts}-n 16 py train.py --config a.yml\n", done.stderr
    done = run("run_distribute_eval.sh", "2", "a.yml", "b.ckpt", "--split", "test", mpi=mpi, HOSTFILE="")
    assert done.stdout == (
        f"{ROOT}: mpirun {options}-n 2 python eval.py --config a.yml --ckpt_path b.ckpt --split test\n"
    ), done.stderr


@pytest.mark.parametrize(
    "script", ["run_standalone_train.sh", "run_eval.sh", "run_distribute_train.sh", "run_distribute_eval.sh"]
)
def test_missing_arguments_show_the_use(run, script):
    done = run(script)
    assert done.returncode == 2 and not done.stdout and f"bash scripts/{script} " in done.stderr
