"""scripts/check_device.py from the command line, and what it reads about CANN and CUDA."""

import os
import re
import runpy
from importlib import metadata
from pathlib import Path

import pytest

SCRIPT = "scripts/check_device.py"


@pytest.fixture(scope="module")
def functions():
    return runpy.run_path(str(Path(__file__).resolve().parents[2] / SCRIPT))


def test_it_prints_the_installation_and_trains_two_steps(run_script):
    done = run_script(SCRIPT, "--device_target", "CPU", "--ms_mode", "1")
    assert done.returncode == 0, done.stderr
    for part in (
        f"mindspore {metadata.version('mindspore')}",
        "CPU: 1 found",
        "data threads by default",
        "mpirun: ",
        "by no launcher",
        "CPU works",
    ):
        assert part in done.stdout
    losses = [float(loss) for loss in re.findall(r"step \d: loss (\S+),", done.stdout)]
    assert len(losses) == 2 and losses[1] < losses[0]


def test_a_missing_device_is_a_user_error(run_script):
    done = run_script(SCRIPT, "--device_target", "Ascend")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "error: device_target Ascend: not available: MindSpore" in done.stderr and "set_env.sh" in done.stderr
    assert "machine:\n" in done.stdout  # the report is printed all the same


def test_the_versions_of_cann_and_cuda(functions, tmp_path, monkeypatch):
    monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path))
    assert functions["cann"]() == f"CANN: not found in {tmp_path}"
    (tmp_path / "compiler").mkdir()
    (tmp_path / "compiler" / "version.info").write_text("Version=8.5.0\nversion_dir=8.5.0\n")
    assert functions["cann"]() == f"CANN 8.5.0 in {tmp_path}"

    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert functions["cuda"]() == f"CUDA: nvcc not found; CUDA_HOME={tmp_path}"
    (tmp_path / "bin").mkdir()
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 11.6, V11.6.124'\n")
    nvcc.chmod(0o755)
    assert functions["cuda"]().startswith(f"CUDA 11.6: {nvcc};")
    (tmp_path / "lib64").mkdir()
    (tmp_path / "lib64" / "libcudnn.so.8.5.0").touch()
    assert "libcudnn.so.8.5.0" in functions["cudnn"]()


def test_the_driver_names_the_devices(functions, tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n[ \"$2\" = --format=csv,noheader ] && echo '0, NVIDIA H200, 143771 MiB, 570.86'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert "  nvidia-smi: 0, NVIDIA H200, 143771 MiB, 570.86" in functions["devices"]()
