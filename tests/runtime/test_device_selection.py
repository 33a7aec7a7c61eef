"""Choice of the device and its options. No accelerator is needed: MindSpore's functions are replaced."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mindspore as ms
import pytest

from ocrnet.config import DeviceConfig
from ocrnet.distributed import launcher
from ocrnet.distributed.launcher import Ranks
from ocrnet.errors import UserError
from ocrnet.runtime import device, device_options, device_selection

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def devices(monkeypatch):
    """Returns a function that sets what MindSpore finds: {device: number of devices, or an exception}."""

    def find(**counts):
        def device_count(name):
            if isinstance(counts[name], Exception):
                raise counts[name]
            return counts[name]

        for name in ("Ascend", "GPU"):
            module = getattr(ms.device_context, name.lower())
            monkeypatch.setattr(module, "is_available", lambda name=name: name in counts)
            monkeypatch.setattr(module, "device_count", lambda name=name: device_count(name))

    return find


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ({}, "CPU"),
        ({"GPU": 1}, "GPU"),
        ({"Ascend": 8, "GPU": 1}, "Ascend"),
        ({"Ascend": 0, "GPU": 1}, "GPU"),
        ({"Ascend": RuntimeError("ret 507008"), "GPU": 0}, "CPU"),
        ({"Ascend": NameError("ascend_get_device_count")}, "Ascend"),
    ],
)
def test_the_first_target_with_a_device_is_chosen(devices, found, chosen):
    devices(**found)
    assert device_selection.choose(None) == chosen
    assert device_selection.choose("CPU") == "CPU"


@pytest.mark.parametrize(
    ("found", "target", "parts"),
    [
        ({}, "Ascend", ["libge_runner.so: cannot open", "set_env.sh", "8.2 to 9.1", "npu-smi info"]),
        ({}, "GPU", ["it gives no reason. Set CUDA_HOME", "CUDA 11.6", "cuDNN 8", "nvidia-smi"]),
        (
            {"Ascend": 0},
            "Ascend",
            ["finds no device", "/dev/davinci0", "ASCEND_RT_VISIBLE_DEVICES (now '9')"],
        ),
        ({"GPU": 0}, "GPU", ["finds no device", "--gpus all", "CUDA_VISIBLE_DEVICES (not set now)"]),
        ({"Ascend": RuntimeError("ret 507008\ntrace")}, "Ascend", ["cannot count the devices: ret 507008. Check"]),
    ],
)
def test_a_missing_device_is_an_error_with_reason_and_fix(devices, monkeypatch, found, target, parts):
    devices(**found)
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "9")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(UserError) as error:
        device_selection.choose(target)
    text = str(error.value)
    assert text.startswith(f"device_target {target}: not available: ") and "\n" not in text
    assert text.endswith("Available: CPU; use --device_target CPU or omit the flag.")
    assert [part for part in parts if part not in text] == []


def test_the_reason_of_the_gpu_plugin_is_mindspores_own(tmp_path):
    nvcc = tmp_path / "bin" / "nvcc"  # MindSpore asks it for the version of CUDA, then loads the plugin for it
    nvcc.parent.mkdir()
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 11.6, V11.6.124'\n")
    nvcc.chmod(0o755)
    code = "from ocrnet.runtime import device_selection; print(device_selection.problem('GPU'))"
    environment = {"CUDA_HOME": str(tmp_path), "PATH": f"{nvcc.parent}:/usr/bin:/bin", "PYTHONPATH": "src"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert "libmindspore_gpu.so.11.6 failed. libcublas.so.11: cannot open" in done.stdout, done.stderr
    assert "ascend" not in done.stdout


def test_options_are_set_where_they_have_an_effect(monkeypatch, capsys):
    calls = []

    def functions(*names):
        return SimpleNamespace(**{name: lambda value, name=name: calls.append((name, value)) for name in names})

    hf32 = functions("precision_mode", "conv_allow_hf32", "matmul_allow_hf32")
    tf32 = functions("conv_allow_tf32", "matmul_allow_tf32")
    monkeypatch.setattr(ms.device_context.ascend, "op_precision", hf32)
    monkeypatch.setattr(ms.device_context.gpu, "op_precision", tf32)
    monkeypatch.setattr(ms, "set_context", lambda **values: calls.append(values))
    options = DeviceConfig(jit_level="O2", precision_mode="force_fp32", conv_allow_hf32=False, matmul_allow_tf32=True)

    device_options.apply(options.options, "Ascend", 0)
    assert calls == [{"jit_config": {"jit_level": "O2"}}, ("precision_mode", "force_fp32"), ("conv_allow_hf32", False)]
    assert capsys.readouterr().err == "note: device.matmul_allow_tf32 (True): no effect on Ascend: it is for GPU\n"

    calls.clear()
    device_options.apply(options.options, "GPU", 0)
    assert calls == [("matmul_allow_tf32", True)]
    assert "note: device.jit_level (O2): no effect on GPU: it is for Ascend\n" in capsys.readouterr().err

    calls.clear()
    device_options.apply(DeviceConfig().options, "CPU", 0)
    device_options.apply(DeviceConfig(jit_level="O1").options, "CPU", 1)
    assert calls == []
    assert capsys.readouterr().err == "note: device.jit_level (O1): no effect with ms_mode 1: nothing is compiled\n"
    device_options.apply(DeviceConfig(jit_level="O1").options, "CPU", 0)
    assert calls == [{"jit_config": {"jit_level": "O1"}}]


def test_the_documented_values_are_those_of_mindspore():
    documented = ms.device_context.ascend.op_precision.precision_mode.__doc__
    modes = re.findall(r"^ *- (\w+):", documented, re.MULTILINE)
    field = DeviceConfig.model_fields["precision_mode"].annotation
    assert sorted(field.__args__[0].__args__) == sorted(modes)


@pytest.mark.parametrize(
    ("ranks", "launched_by", "visible", "expected"),
    [
        (Ranks(), None, 8, None),  # MindSpore chooses
        (Ranks(3, 8, 3, 8), launcher.MSRUN, 8, None),  # DEVICE_ID
        (Ranks(11, 16, 3, 8), launcher.OPEN_MPI, 8, 3),
        (Ranks(3, 4, 3, 4), launcher.SLURM, 1, 0),  # Slurm gives each task its own device
        (Ranks(3, 4, 3, 4), launcher.HYDRA, None, 3),  # MindSpore cannot count them
        (Ranks(1, 2, 1, 2, device=6), launcher.RANK_TABLE, 8, 6),
        (Ranks(0, 1, 0, 1, device=6), launcher.RANK_TABLE, 8, 6),
        (Ranks(1, 2, 1, 2, device=6), launcher.RANK_TABLE, 2, 1),  # only the two devices of the job are visible
    ],
)
def test_each_rank_has_its_own_device(monkeypatch, ranks, launched_by, visible, expected):
    monkeypatch.setattr(launcher, "_stored", (ranks, launched_by))
    monkeypatch.setattr(device_selection, "device_count", lambda target: visible)
    assert device._device_id("Ascend") == device._device_id("GPU") == expected
    assert device._device_id("CPU") is None


@pytest.mark.parametrize(("library", "limit"), [("libdnnl.so.2", "None"), ("libdnnl.so.3", "AVX2")])
def test_only_the_onednn_that_needs_it_is_limited(tmp_path, library, limit):
    """Convolutions of MindSpore 2.7 and 2.8 (libdnnl.so.2) are fast with AVX-512; those of 2.9 and 2.10 are not."""
    (tmp_path / "mindspore" / "lib").mkdir(parents=True)
    (tmp_path / "mindspore" / "__init__.py").touch()
    (tmp_path / "mindspore" / "lib" / library).touch()
    code = "import os; from ocrnet.runtime import device; device._limit_cpu_isa(); "
    code += "print(os.environ.get('ONEDNN_MAX_CPU_ISA'))"
    environment = {key: value for key, value in os.environ.items() if key != "ONEDNN_MAX_CPU_ISA"}
    environment["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT / 'src'}"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == f"{limit}\n", done.stderr


def test_warnings_of_the_obs_sdk_at_its_compilation_are_not_shown(tmp_path):
    for package in ("obs", "other"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("is_one = 1 is 1\n")  # a SyntaxWarning in every Python
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'src'}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", "import ocrnet, obs; print('read'); import other"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "read\n"
    assert "other/__init__.py:1: SyntaxWarning" in done.stderr and "obs/__init__.py" not in done.stderr
