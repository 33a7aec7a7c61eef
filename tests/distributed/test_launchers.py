"""Launcher detection in the environments that launchers set, and real launchers if they are installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import pytest
import rank_table_job
from test_several_ranks import CONFIG_FILE, TINY, loopback_only, losses

from ocrnet.distributed import cluster, launcher, rank_table
from ocrnet.distributed.launcher import HYDRA, OPEN_MPI, SLURM, Ranks
from ocrnet.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
_PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
LAUNCHERS = {
    "mpiexec.hydra": [*loopback_only(), "mpiexec.hydra", "-n", "2"],  # MPICH's or Intel MPI's
    "rank table": [sys.executable, "tests/distributed/rank_table_job.py", "2"],
    "srun": ["bash", "tests/distributed/one_node_slurm.sh", "timeout", "240", "srun", "--kill-on-bad-exit", "-n", "2"],
}
INSTALLED = {
    "rank table": True,
    "mpiexec.hydra": shutil.which("mpiexec.hydra", path=_PATH) is not None,
    "srun": os.getuid() == 0 and all(map(shutil.which, ("srun", "slurmctld", "slurmd", "munged"))),
}
_PREFIXES = ("OMPI_", "PMIX_", "PMI_", "MPI_LOCAL", "SLURM_", "MS_", "RANK", "WORLD_SIZE", "LOCAL_RANK", "DEVICE_ID")
_PREFIXES += ("ASCEND_DEVICE_ID", "OCRNET_RANK", "MA_", "VC_", "TORCHELASTIC_", "PRTE_")

# Variables about ranks that Open MPI 5.0.11, MPICH 4.0.2, Intel MPI 2021.18 and Slurm 22.05 set.
OMPI = {
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "PMIX_NAMESPACE": "prterun-vm-5794@1",
    "PMIX_RANK": "1",
    "PMIX_SERVER_TMPDIR": "/tmp/ompi.5794",
}
PRTERUN = {"PMIX_NAMESPACE": "prterun-vm-8471@1", "PMIX_RANK": "0", "PRTE_LAUNCHED": "1"}
MPICH = {"MPI_LOCALNRANKS": "2", "MPI_LOCALRANKID": "1", "PMI_FD": "8", "PMI_RANK": "1", "PMI_SIZE": "2"}
INTEL = {**MPICH, "I_MPI_MPIRUN": "mpirun", "PMI_RANK": "5", "PMI_SIZE": "8", "MPI_LOCALNRANKS": "4"}
ALLOCATION = {"SLURM_JOB_ID": "6", "SLURM_NTASKS": "2", "SLURM_NPROCS": "2", "SLURM_TASKS_PER_NODE": "2"}
BATCH_SCRIPT = {**ALLOCATION, "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_GTIDS": "0"}
STEP = {
    **ALLOCATION,
    "SLURM_CLUSTER_NAME": "trial",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2",
    "SLURM_NODEID": "0",
    "SLURM_GTIDS": "0,1",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
}
THREE_NODES = {
    **STEP,
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_STEP_NODELIST": "gpu[03-04,12]",
    "SLURM_NODEID": "1",
    "SLURM_GTIDS": "2,3",
    "SLURM_PROCID": "3",
}
ONE_TASK = {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_TASKS_PER_NODE": "1", "SLURM_GTIDS": "0", "SLURM_PROCID": "0"}
ONE_TASK["SLURM_LOCALID"] = "0"
MSRUN = {"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "2", "RANK_ID": "1", "DEVICE_ID": "1", "MS_SCHED_HOST": "127.0.0.1"}
MODELARTS = {"MA_NUM_HOSTS": "2", "MA_NUM_GPUS": "8", "VC_WORKER_NUM": "2", "VC_TASK_INDEX": "1"}
TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "none"}


@pytest.fixture
def environment(monkeypatch):
    """Set the given variables and remove all other launcher variables."""

    def change(variables: dict[str, str]) -> None:
        for name in [name for name in os.environ if name.startswith(_PREFIXES)]:
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return change


@pytest.mark.parametrize(
    ("variables", "expected", "by"),
    [
        ({}, Ranks(), None),
        (OMPI, Ranks(1, 2, 1, 2), OPEN_MPI),
        (MPICH, Ranks(1, 2, 1, 2), HYDRA),
        (INTEL, Ranks(5, 8, 1, 4), HYDRA),
        (STEP, Ranks(1, 2, 1, 2), SLURM),
        (THREE_NODES, Ranks(3, 5, 1, 2), SLURM),
        (STEP | {"PMI_RANK": "1", "PMI_SIZE": "2", "PMI_JOBID": "3.0"}, Ranks(1, 2, 1, 2), SLURM),  # srun --mpi=pmi2
        (MSRUN, Ranks(1, 2, 1, 2), "msrun"),
        (MSRUN | {"MS_SCHED_HOST": "192.0.2.7", "MS_WORKER_NUM": "4"}, Ranks(1, 4, 1, 1), "msrun"),  # several machines
        (MSRUN | MODELARTS, Ranks(1, 2, 1, 2), "msrun"),  # MA_RUN_METHOD=msrun
        # one process, for any number of allocated Slurm tasks
        (ALLOCATION, Ranks(), None),
        (BATCH_SCRIPT, Ranks(), None),
        (STEP | ONE_TASK, Ranks(), SLURM),
        (STEP | ONE_TASK | {"PMIX_RANK": "0"}, Ranks(), SLURM),  # srun -n 1 --mpi=pmix
        (STEP | BATCH_SCRIPT, Ranks(), None),  # sbatch was called inside a step of two tasks
        (MPICH | {"PMI_RANK": "0", "PMI_SIZE": "1", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "1"}, Ranks(), HYDRA),
        ({"RANK": "0", "WORLD_SIZE": "1", "PMI_RANK": "3", "RANK_ID": "2", "LOCAL_RANK": "1"}, Ranks(), None),
        # a launcher inside a Slurm step or allocation
        (STEP | ONE_TASK | MPICH, Ranks(1, 2, 1, 2), HYDRA),
        (BATCH_SCRIPT | OMPI, Ranks(1, 2, 1, 2), OPEN_MPI),
        (STEP | OMPI | {"OMPI_COMM_WORLD_RANK": "0"}, Ranks(0, 2, 1, 2), OPEN_MPI),
        (STEP | MSRUN | {"MS_WORKER_NUM": "4", "RANK_ID": "3"}, Ranks(3, 4, 1, 4), "msrun"),
        # a cluster that the user has set up, with MS_NODE_ID alone
        (OMPI | {"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "2"}, Ranks(1, 2, 1, 2), OPEN_MPI),
        # a child process of a rank
        (STEP | {"OCRNET_RANK": "1"}, Ranks(), None),
        (OMPI | {"OCRNET_RANK": "1", "MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "2"}, Ranks(), None),
    ],
)
def test_ranks_and_launcher_are_detected_from_the_environment(environment, monkeypatch, variables, expected, by):
    environment(variables)
    monkeypatch.setattr(launcher, "_has_terminal", lambda: False)
    assert launcher.ranks() == expected
    assert launcher.detect_launcher() == by
    launcher.require_known_launcher()


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        (TORCHRUN, "RANK=1 WORLD_SIZE=2"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "RANK=0 WORLD_SIZE=2"),
        (STEP | ONE_TASK | TORCHRUN, "RANK=1 WORLD_SIZE=2"),  # srun started one torchrun
        (STEP | TORCHRUN | {"WORLD_SIZE": "16"}, "RANK=1 WORLD_SIZE=16"),  # srun started one on each of two nodes
        (PRTERUN, "PMIX_RANK=0"),
        ({"PMI_RANK": "0", "PMI_SIZE": "4"}, "PMI_RANK=0 PMI_SIZE=4"),
        ({"PALS_RANKID": "0"}, "PALS_RANKID=0"),
        ({"FLUX_TASK_RANK": "1", "FLUX_JOB_SIZE": "2"}, "FLUX_TASK_RANK=1 FLUX_JOB_SIZE=2"),
        ({"JSM_NAMESPACE_RANK": "1", "JSM_NAMESPACE_SIZE": "2"}, "JSM_NAMESPACE_RANK=1 JSM_NAMESPACE_SIZE=2"),
        ({"RANK_ID": "1", "RANK_SIZE": "8"}, "RANK_ID=1 RANK_SIZE=8"),
    ],
)
def test_one_of_several_processes_of_an_unsupported_launcher_is_refused(environment, variables, named):
    environment(variables)
    with pytest.raises(UserError) as error:
        launcher.require_known_launcher()
    names = " ".join(f"-u {entry.partition('=')[0]}" for entry in named.split())
    assert str(error.value).startswith(f"{named}: ")
    assert "mpirun (Open MPI, MPICH, Intel MPI), srun or msrun" in str(error.value)
    assert str(error.value).endswith(f"env {names} python ...")


def test_msrun_without_rank_id_is_refused(environment):
    environment({name: value for name, value in MSRUN.items() if name != "RANK_ID"})
    with pytest.raises(UserError, match=r"RANK_ID is not set.*--node_rank"):
        launcher.require_known_launcher()


@pytest.fixture
def with_rank_table(environment, tmp_path):
    """Set the variables of a rank table and hide them as the package does at its import."""

    def change(machines: dict[str, dict[int, int]] | str, **variables: str) -> None:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        path.write_text(machines if isinstance(machines, str) else rank_table_job.rank_table(machines))
        os.environ.pop(rank_table.PATH_VARIABLE, None)
        environment({"RANK_TABLE_FILE": str(path), **variables})
        rank_table.hide()
        assert "RANK_TABLE_FILE" not in os.environ

    yield change
    os.environ.pop(rank_table.PATH_VARIABLE, None)


TWO_MACHINES = {"192.0.2.7": {0: 5, 1: 6}, "192.0.2.8": {2: 5, 3: 6}}


def test_a_rank_table_gives_rank_device_and_the_scheduler_of_rank_0(with_rank_table):
    with_rank_table(TWO_MACHINES, RANK_ID="3", RANK_SIZE="4", ASCEND_DEVICE_ID="6")
    assert launcher.ranks() == Ranks(3, 4, 1, 2, device=6) and launcher.detect_launcher() == "rank table"
    launcher.require_known_launcher()
    host, port = cluster._scheduler_address()
    assert host == "192.0.2.7" and 20000 <= port < 30000
    with_rank_table({"192.0.2.7": {0: 4}}, RANK_ID="0", RANK_SIZE="1")
    assert launcher.ranks() == Ranks(0, 1, 0, 1, device=4)
    launcher.require_known_launcher()


@pytest.mark.parametrize(
    ("machines", "variables", "message"),
    [
        (TWO_MACHINES, {"RANK_SIZE": "4"}, r"one of 4 processes \(rank table\), but RANK_ID is not set"),
        (TWO_MACHINES, {"RANK_ID": "4"}, r"RANK_ID=4, but RANK_TABLE_FILE=.* has the ranks 0 to 3"),
        (TWO_MACHINES, {"RANK_ID": "0", "RANK_SIZE": "8"}, r"RANK_SIZE=8, but RANK_TABLE_FILE=.* has 4 ranks"),
        ({"a": {0: 0, 2: 1}}, {"RANK_ID": "0"}, r"has 2 devices with the ranks \[0, 2\], not 0 to 1"),
        ({"a": {0: 0}, "b": {0: 0}}, {"RANK_ID": "0"}, r"has 2 devices with the ranks \[0, 0\]"),
        ('{"group_list": []}', {"RANK_ID": "0"}, r"not a rank table with a server_list .*unset RANK_TABLE_FILE"),
        ("{", {"RANK_ID": "0"}, r"RANK_TABLE_FILE=.*: not a rank table"),
    ],
)
def test_an_unusable_rank_table_is_refused(with_rank_table, machines, variables, message):
    with_rank_table(machines, **variables)
    with pytest.raises(UserError, match=message):
        launcher.require_known_launcher()


def test_a_missing_rank_table_is_an_error_without_a_traceback(environment, tmp_path):
    environment({"RANK_TABLE_FILE": str(tmp_path / "none.json"), "RANK_ID": "0", "RANK_SIZE": "2"})
    ended = subprocess.run(
        [sys.executable, "train.py", "--config", "config/ocrnet/ocrnet_demo.yml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: RANK_TABLE_FILE={tmp_path / 'none.json'}: cannot read it: No such file")


def test_one_process_on_each_of_several_modelarts_machines_is_refused(environment):
    environment(MODELARTS)
    with pytest.raises(UserError, match=r"once on each of 2 machines.*msrun .*--node_rank \$VC_TASK_INDEX"):
        launcher.require_known_launcher()


def test_an_interactive_srun_shell_with_several_tasks_is_refused(environment, monkeypatch):
    environment(STEP)
    monkeypatch.setattr(launcher, "_has_terminal", lambda: True)
    with pytest.raises(UserError, match=r"SLURM_STEP_NUM_TASKS=2: .* srun --ntasks=1 --pty bash"):
        launcher.require_known_launcher()
    environment(STEP | ONE_TASK)
    launcher.require_known_launcher()


def test_stale_variables_of_mpiexec_are_refused_with_the_fix(environment):
    environment(MPICH)
    with pytest.raises(UserError, match=r"no mpiexec.hydra is running .* env -u PMI_RANK -u PMI_SIZE"):
        launcher.job_id()


def test_a_refused_training_writes_no_files(demo, tmp_path):
    """In a process started by torchrun."""
    command = [sys.executable, "train.py", "--config", "config/ocrnet/ocrnet_demo.yml"]
    command += ["--dataset_dir", demo, "--save_dir", tmp_path / "run", "--total_step", "1"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_PREFIXES)}
    ended = subprocess.run(
        list(map(str, command)), cwd=ROOT, env={**environment, **TORCHRUN}, capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: RANK=1 WORLD_SIZE=2: this is one of several processes")
    assert not (tmp_path / "run").exists()


MEMBER = """
import os, sys
from ocrnet.distributed import cluster, launcher, rank_table
cluster._TIMEOUT = 20
cores = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, {cores[int(os.environ["SLURM_LOCALID"])]})
cluster.join_cluster()
print(os.environ["MS_ROLE"], os.environ["MS_SCHED_HOST"], os.environ["MS_SCHED_PORT"], os.environ["MS_NODE_ID"])
print(sorted(os.sched_getaffinity(0)) == cores)
sys.stdout.flush()
sys.stdin.read()  # the others still need the scheduler's port
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_simultaneous_slurm_jobs_have_separate_schedulers_and_use_the_cores_of_their_tasks():
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_PREFIXES)}
    masks = ",".join(hex(1 << core) for core in sorted(os.sched_getaffinity(0)))
    processes = {}
    jobs = [f"{os.getpid()}{number}" for number in (6, 7)]  # no other run of the tests has them
    for job in jobs:
        for rank in ("1", "0"):  # rank 1 has to wait
            variables = {**STEP, "SLURM_JOB_ID": job, "SLURM_PROCID": rank, "SLURM_LOCALID": rank}
            variables |= {"SLURM_CPU_BIND_TYPE": "mask_cpu:", "SLURM_CPU_BIND_LIST": masks}
            processes[job, rank] = subprocess.Popen(
                [sys.executable, "-c", MEMBER],
                env={**clean, **variables, "PYTHONPATH": str(ROOT / "src")},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
    try:
        lines = {key: [process.stdout.readline().split() for _ in range(2)] for key, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
    ports = {key: first[2] for key, (first, _) in lines.items()}
    assert all(first[:2] == ["MS_WORKER", "127.0.0.1"] and second == ["True"] for first, second in lines.values())
    assert [first[3] for first, _ in lines.values()] == ["1", "0", "1", "0"]
    assert ports[jobs[0], "0"] == ports[jobs[0], "1"] != ports[jobs[1], "0"] == ports[jobs[1], "1"]


def test_the_scheduler_exits_if_rank_0_was_killed():
    script = ROOT / "src" / "ocrnet" / "distributed" / "scheduler.py"
    variables = {"MS_ROLE": "MS_SCHED", "MS_WORKER_NUM": "2", "MS_SCHED_HOST": "127.0.0.1", "MS_SCHED_PORT": "0"}
    ended = subprocess.run(
        [sys.executable, script, str(os.getpid() + 1)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (1, "rank 0 died before its scheduler had started\n")


def test_missing_ranks_end_the_job_with_an_error(environment, monkeypatch):
    monkeypatch.setattr(cluster, "_TIMEOUT", 0.3)
    environment(STEP | {"SLURM_JOB_ID": f"test{os.getpid()}"})
    with pytest.raises(UserError, match=r"rank 0 did not start within 0.3 s \(srun trial test\d+ 0\)"):
        cluster._port_from_rank_0()
    with pytest.raises(UserError, match=r"1 of the other 1 ranks of this machine did not connect within 0.3 s"):
        cluster._send_port(1, Ranks(0, 2, 0, 2))


@pytest.mark.parametrize(
    ("hosts", "first"),
    [("vm", "vm"), ("gpu[03-07,12],login1", "gpu03"), ("a,b", "a"), ("rack[2,4]-n[10-12].hpc,x", "rack2-n10.hpc")],
)
def test_the_first_host_of_a_slurm_node_list(hosts, first):
    assert cluster._first_host(hosts) == first


def test_the_scheduler_address_is_the_first_slurm_node_or_ms_sched_host(environment):
    environment(THREE_NODES | {"SLURM_STEP_NODELIST": "192.0.2.[7-9]"})
    host, port = cluster._scheduler_address()
    assert host == "192.0.2.7" and 20000 <= port < 30000
    environment(THREE_NODES | {"MS_SCHED_HOST": "192.0.2.9", "MS_SCHED_PORT": "8118"})
    assert cluster._scheduler_address() == ("192.0.2.9", 8118)
    environment(THREE_NODES | {"SLURM_STEP_NODELIST": "localhost,other"})
    with pytest.raises(UserError, match=r"localhost, .* resolves to 127.0.0.1 here.*export MS_SCHED_HOST="):
        cluster._scheduler_address()
    environment(INTEL | {"MS_SCHED_HOST": "192.0.2.7"})
    with pytest.raises(UserError, match="mpirun -genv MS_SCHED_HOST ADDRESS -genv MS_SCHED_PORT 8118"):
        cluster._scheduler_address()


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow) for name in LAUNCHERS])
def launch(request):
    """Returns the launcher's name and a function that starts two ranks of a script in the repository's root."""
    if not INSTALLED[request.param]:
        pytest.skip(f"{request.param} is not installed")

    def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_PREFIXES)}
        environment |= {"PATH": _PATH, **variables}
        python = [] if request.param == "rank table" else [sys.executable]
        command = [*LAUNCHERS[request.param], *python, *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)

    return request.param, run


def test_only_rank_0_of_two_writes_the_run(launch, demo, tmp_path):
    flags = ["--config", CONFIG_FILE, "--data_root", demo, *TINY, "--batch_size", 2, "--ms_mode", 1, "--total_step", 2]
    flags += ["--set", "train.sync_batch_norm=False", "--set", "checkpoint.interval=1"]
    ended = launch[1]("train.py", *flags, "--save_dir", tmp_path / "run")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("2 steps done") == 1 and "on 2 x CPU" in ended.stdout
    assert len(losses(tmp_path / "run")) == 2
    assert losses(tmp_path / "run") == losses(tmp_path / "run", "train_rank1.log")
    assert (tmp_path / "run" / "checkpoint" / "latest.ckpt").exists()


def test_a_failing_rank_ends_the_job(launch):
    """Within seconds, and with its own exit status if the launcher forwards it."""
    name, run = launch
    ended = run("tests/distributed/failing_job.py", MS_NODE_TIMEOUT="8")  # seconds without a heartbeat, instead of 30
    # rank, size, local rank, local size, and the size that a child process of the rank sees
    assert ended.stdout.split("\n")[:3] == ["(0, 2, 0, 2, 1)", "(1, 2, 1, 2, 1)", name], ended.stderr
    assert "rank 1: error: rank 1 fails on purpose" in ended.stderr
    if name == "rank table":
        # no launcher ends the other rank: MindSpore's scheduler does, and before 2.10 its collective fails
        earlier = ms.__version__.startswith(("2.7.", "2.8.", "2.9."))
        assert ("Launch kernel failed" if earlier else "timed out") in ended.stderr
        assert ended.returncode == (1 if earlier else 143)
    else:
        assert "timed out" not in ended.stderr
        assert ended.returncode == (2 if name == "mpiexec.hydra" else 143)
