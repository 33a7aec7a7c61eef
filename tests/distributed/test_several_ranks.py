"""Training, evaluation and prediction with several ranks on this machine; skipped without mpirun."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ocrnet.config.loading import load_config
from ocrnet.data.loader import TrainingSamples
from ocrnet.data.splits import find_pairs
from ocrnet.distributed import cluster
from ocrnet.distributed.launcher import Ranks
from ocrnet.evaluation.metrics import ConfusionMatrix

ROOT = Path(__file__).resolve().parents[2]
_BIN = Path(sys.executable).parent
_PATH = f"{_BIN}{os.pathsep}{os.environ.get('PATH', '')}"

CONFIG_FILE = "config/ocrnet/ocrnet_demo.yml"
_TINY = (
    "--log_interval 1 --set model.head_channels=16 --set model.key_channels=8 --set model.context_channels=16 "
    "--set data.crop_size=[32,64] --set schedule.warmup_steps=0 --lr_init 0.01 --run_eval False"
)
TINY = _TINY.split()


def open_mpi() -> list[str]:
    """Returns Open MPI's mpirun, if it is installed; `mpirun` may be that of another MPI."""
    if prterun := shutil.which("prterun", path=_PATH):
        return [prterun, "--personality", "ompi"]  # mpirun calls it since version 5
    mpirun = shutil.which("mpirun", path=_PATH)
    version = subprocess.run([mpirun, "--version"], capture_output=True, text=True).stdout if mpirun else ""
    return [mpirun] if "Open MPI" in version else []


MPIRUN = open_mpi()
needs_mpirun = pytest.mark.skipif(not MPIRUN, reason="Open MPI's mpirun is not installed")


def loopback_only() -> list[str]:
    """Returns a command prefix for a network with loopback only, if allowed: mpirun listens on all interfaces."""
    command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    try:
        return command if subprocess.run([*command, "true"], capture_output=True).returncode == 0 else []
    except FileNotFoundError:
        return []


@pytest.fixture(scope="module")
def mpirun():
    """Returns a function that starts two or more ranks of a script in the repository's root."""
    prefix = [*loopback_only(), *MPIRUN, "--allow-run-as-root", "--oversubscribe"]

    def start(*arguments: object, ranks: int = 2) -> subprocess.Popen:
        command = [*prefix, "-n", str(ranks), sys.executable, *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    return start


def finish(process: subprocess.Popen, timeout: float = 300) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def losses(folder: Path, log: str = "train.log") -> list[float]:
    return [float(loss) for loss in re.findall(r"^step \d+/\d+, loss: ([\d.]+)", (folder / log).read_text(), re.M)]


def test_on_several_machines_the_scheduler_address_is_that_of_mpirun(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    monkeypatch.setenv("PMIX_NAMESPACE", "1618739201")
    monkeypatch.setenv("OMPI_MCA_orte_hnp_uri", "1618739200.0;tcp://192.0.2.2:43293;tcp6://[fd00::2]:50011")
    monkeypatch.delenv("MS_SCHED_HOST", raising=False)
    host, port = cluster._scheduler_address()
    assert host == "192.0.2.2" and 20000 <= port < 30000
    monkeypatch.setenv("MS_SCHED_HOST", "192.0.2.7")
    assert cluster._scheduler_address() == ("192.0.2.7", port)


def test_a_step_has_the_same_samples_for_any_number_of_ranks(demo):
    config = load_config(ROOT / CONFIG_FILE, {"data.root": (str(demo), ""), "data.crop_size": ([16, 32], "")})
    dataset = find_pairs(config.data, "train")
    alone = TrainingSamples(dataset, config.data, 7, 4, 8, 24)
    shares = [TrainingSamples(dataset, config.data, 7, 2, 8, 24, Ranks(rank, 2)) for rank in range(2)]
    assert [len(share) for share in shares] == [8, 8]
    for index in range(16):
        step, place = divmod(index, 4)
        rank, own = divmod(place, 2)
        for one, other in zip(alone[index], shares[rank][step * 2 + own], strict=True):
            assert np.array_equal(one, other)


def test_confusion_matrices_of_ranks_add_up():
    one, other = ConfusionMatrix(["a", "b"]), ConfusionMatrix(["a", "b"])
    one.update(np.array([[0, 1]]), np.array([[0, 0]]))
    other.update(np.array([[1, 1]]), np.array([[1, 0]]))
    total = sum([one, other], ConfusionMatrix(["a", "b"]))
    assert total.counts.tolist() == [[1, 0], [2, 1]] and total.images == 2


@pytest.mark.slow
@needs_mpirun
def test_checks_inside_the_ranks(mpirun, demo, tmp_path):
    """Collectives, synchronised BatchNorm and overflow in both modes; a training is bitwise identical on all ranks."""
    flags = ["--config", CONFIG_FILE, "--dataset_dir", demo, *TINY, "--total_step", 2, "--batch_size", 2]
    status, out, err = finish(mpirun("tests/distributed/checks.py", *flags, "--save_dir", tmp_path))
    assert status == 0, err
    assert out.splitlines()[-1] == "10 checks passed"


@pytest.mark.slow
@needs_mpirun
def test_two_ranks_train_like_one_process_with_twice_the_batch_and_resume_with_one(mpirun, run_script, demo, tmp_path):
    flags = ["--config", CONFIG_FILE, "--dataset_dir", demo, *TINY, "--ms_loss_scaler", "dynamic"]
    flags += ["--set", "schedule.kind=constant"]
    flags += [
        "--set",
        "data.crop_size=[64,128]",
    ]  # in smaller crops BatchNorm has few values and amplifies rounding errors
    alone = run_script("train.py", *flags, "--batch_size", 4, "--total_step", 6, "--save_dir", tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    two = ["train.py", *flags, "--batch_size", 2, "--total_step", 6]
    status, out, err = finish(mpirun(*two, "--save_dir", tmp_path / "two"))
    assert status == 0, err
    assert out.count("6 steps done") == 1
    expected = losses(tmp_path / "alone")
    assert len(expected) == 6
    assert np.allclose(losses(tmp_path / "two"), expected, rtol=1e-4, atol=0)
    assert losses(tmp_path / "two") == losses(tmp_path / "two", "train_rank1.log")
    # the comparison can fail: with unsynchronised statistics the loss differs
    apart = [*two, "--ms_mode", 1, "--total_step", 3, "--set", "train.sync_batch_norm=False"]
    assert finish(mpirun(*apart, "--save_dir", tmp_path / "apart"))[0] == 0
    assert not np.allclose(losses(tmp_path / "apart"), expected[:3], rtol=1e-4, atol=0)
    # trained with two ranks, resumed with one
    resumed = ["--batch_size", 4, "--total_step", 8, "--save_dir", tmp_path / "two", "--resume_ckpt", "auto"]
    again = run_script("train.py", *flags, "--ms_mode", 1, *resumed)
    assert again.returncode == 0, again.stderr
    assert np.allclose(losses(tmp_path / "two")[:6], expected, rtol=1e-4, atol=0)
    assert len(losses(tmp_path / "two")) == 8 and max(losses(tmp_path / "two")[6:]) < expected[0]


@pytest.mark.slow
@needs_mpirun
def test_evaluation_counts_each_image_once_for_any_remainder(mpirun, run_script, demo, untrained, tmp_path):
    scores = []
    flags = ["eval.py", "--config", CONFIG_FILE, "--dataset_dir", demo, "--ckpt_path", untrained.path, *untrained.flags]
    flags += ["--set", "eval.boundary=3", "--ms_mode", 1]
    for number, run in enumerate((lambda *a: finish(mpirun(*a, ranks=3)), lambda *a: run_script(*a))):
        outputs = ["--result_json", tmp_path / f"{number}.json", "--report", tmp_path / f"report{number}"]
        run(*flags, *outputs, "--save_predictions", tmp_path / f"images{number}")
        scores.append(json.loads((tmp_path / f"{number}.json").read_text()))
        assert len(list((tmp_path / f"images{number}").glob("*.png"))) == 5
    assert scores[0] == scores[1] and scores[0]["images"] == 5
    reports = [(tmp_path / f"report{number}" / "index.html").read_text() for number in range(2)]
    names = [re.findall(r"\w+_leftImg8bit", report) for report in reports]
    assert names[0] == names[1] and len(set(names[0])) == 5


@pytest.mark.slow
@needs_mpirun
def test_ranks_share_the_prediction(mpirun, demo, untrained, tmp_path):
    images = sorted((demo / "leftImg8bit" / "val").rglob("*.png"))[:3]
    flags = ["--config", CONFIG_FILE, "--ckpt_path", untrained.path, *untrained.flags, "--ms_mode", 1]
    status, out, err = finish(mpirun("scripts/predict.py", *flags, "--input", *images, "--output", tmp_path))
    assert status == 0, err
    assert out.startswith("3 of 3 files segmented") and len(list((tmp_path / "mask").glob("*.png"))) == 3


@pytest.mark.slow
@needs_mpirun
def test_a_bad_sample_on_one_rank_ends_the_job_with_its_error(mpirun, demo, tmp_path):
    shutil.copytree(demo, tmp_path / "data")
    config = load_config(ROOT / CONFIG_FILE, {"data.root": (str(tmp_path / "data"), "")})
    dataset = find_pairs(config.data, "train")
    samples = TrainingSamples(dataset, config.data, config.seed, 2, 0, 4, Ranks(1, 2))
    bad = dataset.pairs[samples.image_index(2)][0]  # the first sample of rank 1
    bad.write_text("no image")
    flags = ["--config", CONFIG_FILE, "--dataset_dir", tmp_path / "data", *TINY, "--batch_size", 2, "--ms_mode", 1]
    status, _, err = finish(mpirun("train.py", *flags, "--total_step", 4, "--save_dir", tmp_path / "run"))
    assert status == 2
    messages = [line for line in err.splitlines() if "error:" in line]
    assert len(messages) == 1 and messages[0].startswith("rank 1: error:") and str(bad) in messages[0]
    assert "Traceback" not in err


@pytest.mark.slow
@needs_mpirun
def test_a_killed_rank_ends_the_job(mpirun, demo, tmp_path):
    flags = ["--config", CONFIG_FILE, "--dataset_dir", demo, *TINY, "--batch_size", 2, "--ms_mode", 1]
    job = mpirun("train.py", *flags, "--total_step", 500, "--save_dir", tmp_path / "run")
    log = tmp_path / "run" / "train_rank1.log"
    while not (log.exists() and "step 1/" in log.read_text()):
        assert job.poll() is None
        time.sleep(0.1)
    os.kill(rank_pid(tmp_path / "run", 1), 9)
    status, _, _ = finish(job, timeout=60)
    assert status == 137
    assert not [pid for rank in (0, 1) if (pid := rank_pid(tmp_path / "run", rank))]


def rank_pid(save_dir: Path, rank: int) -> int | None:
    """Returns the process id of a rank of the training in `save_dir`."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(save_dir).encode() in words and f"OMPI_COMM_WORLD_RANK={rank}".encode() in variables:
            return int(process.name)
    return None


@pytest.mark.slow
def test_msrun_starts_the_same_training(demo, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = ["--config", CONFIG_FILE, "--data_root", demo, *TINY, "--batch_size", 2, "--ms_mode", 1, "--total_step", 2]
    flags += ["--set", "train.sync_batch_norm=False"]
    command = ["msrun", "--worker_num=2", "--local_worker_num=2", f"--master_port={port}", "--join=True"]
    command += [f"--log_dir={tmp_path / 'logs'}", "train.py", *flags, "--save_dir", tmp_path / "run"]
    ended = subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PATH": _PATH},
    )
    logs = "".join(file.read_text() for file in (tmp_path / "logs").glob("*.log"))
    assert ended.returncode == 0, logs
    assert logs.count("2 steps done") == 1 and len(losses(tmp_path / "run")) == 2
