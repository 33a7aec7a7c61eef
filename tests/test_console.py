"""The command `ocrnet`: its table of commands, their help, and completion by a real bash."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ocrnet
from ocrnet.console import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
NO_COMMAND = {
    "absent_module.py": "imported by benchmark_peer.py",
    "demo_scene.py": "imported by make_demo_data.py",
    "mmengine_config.py": "imported by convert_config.py",
    "mmseg_pipeline.py": "imported by convert_config.py",
    "benchmark.py": "for developers: measures this program against others",
    "benchmark_peer.py": "started by benchmark.py",
    "benchmark_reading.py": "for developers: measures the data pipeline",
    "model_zoo.py": "for developers: makes docs/model_zoo.md",
    "operator_report.py": "for developers: makes docs/operators.yml",
}
"""{script that is no command: why}"""

HELP_OF_ALL = """
import contextlib, io, json, sys
from ocrnet import console

found = {}
for command in console.COMMANDS:
    sys.argv = ["ocrnet", command, "--help"]
    text = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(text):
        try:
            console.main()
        except SystemExit as end:
            status = end.code
    text.seek(0)
    found[command] = [status, text.read()]
print(json.dumps(found))
"""
"""One process for all commands: importing MindSpore takes seconds."""


def run(*command: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, env=environment)


def test_every_program_is_a_command_or_says_why_not():
    scripts = {file.name for file in (ROOT / "scripts").glob("*.py")}
    commands = {Path(program).name for program in COMMANDS.values() if program.startswith("scripts/")}
    assert commands | set(NO_COMMAND) == scripts
    assert not commands & set(NO_COMMAND)
    assert {"train.py", "eval.py"} < set(COMMANDS.values())


def test_the_help_of_every_command_names_it():
    done = run("-c", HELP_OF_ALL)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == set(COMMANDS)
    for command, (status, text) in found.items():
        assert status == 0, (command, text)
        assert text.startswith(f"usage: ocrnet {command} "), command


def test_the_help_lists_the_commands_in_groups():
    done = run("-m", "ocrnet", "--help")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 120 and len(lines) <= 40
    assert re.findall(r"^  (\S+)  ", done.stdout, re.M) == list(COMMANDS)
    assert [line for line in lines if line.endswith(":")] == [
        "train and use:",
        "data:",
        "weights and models:",
        "devices and cloud:",
        "shell:",
    ]


def test_an_unknown_command_is_an_error_with_a_suggestion():
    done = run("-m", "ocrnet", "predcit")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unknown command predcit. Did you mean predict? (see ocrnet --help)\n"
    assert run("-m", "ocrnet", "--version").stdout == f"ocrnet {ocrnet.__version__}\n"


@pytest.fixture(scope="module")
def script(tmp_path_factory) -> Path:
    """The completion script of bash."""
    done = run("-m", "ocrnet", "completion", "bash")
    assert (done.returncode, done.stderr) == (0, "")
    path = tmp_path_factory.mktemp("completion") / "ocrnet.bash"
    path.write_text(done.stdout)
    return path


def complete(script: Path, folder: Path, *words: str) -> set[str]:
    """Returns what bash offers after `ocrnet WORDS` in a folder; the last word is the one to complete."""
    code = """
    source "$1"; shift
    read -r _ _ _ _ function _ <<< "$(complete -p ocrnet)"  # complete -o bashdefault -F FUNCTION ocrnet
    COMP_WORDS=(ocrnet "$@") COMP_CWORD=$#
    "$function"
    printf '%s\\n' "${COMPREPLY[@]}"
    """
    command = ["bash", "-c", code, "bash", script, *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True)
    return set(done.stdout.split())


def test_bash_completes_commands_flags_and_values(script, tmp_path):
    def offered(*words: str) -> set[str]:
        return complete(script, tmp_path, *words)

    assert offered("") == set(COMMANDS)
    assert offered("pre") == {"predict"}
    assert offered("predict", "--mo") == {"--model"}
    assert offered("eval", "--device_target", "") == {"Ascend", "GPU", "CPU"}
    assert offered("train", "--run_eval", "") == {"True", "False"}
    assert offered("masks", "--order", "") == {"file", "area", "class"}
    assert offered("completion", "z") == {"zsh"}
    assert offered("export", "--model", "ocrnet_") == set(ocrnet.list_models())
    assert offered("train", "--config", "config/ocrnet/ocrnet_d") == {"config/ocrnet/ocrnet_demo.yml"}


def test_bash_completes_files_of_the_right_kind(script, tmp_path):
    for name in ("mine.yml", "mine.ckpt", "mine.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "mine").mkdir()
    assert complete(script, tmp_path, "predict", "mi") == {"mine", "mine.yml", "mine.ckpt", "mine.jpg"}
    assert complete(script, tmp_path, "predict", "--output", "mi") == {"mine"}
    assert complete(script, tmp_path, "eval", "--config", "mi") == {"mine", "mine.yml"}
    assert complete(script, tmp_path, "eval", "--model", "mi") == {"mine", "mine.ckpt"}
    assert complete(script, tmp_path, "show", "mi") == {"mine", "mine.ckpt"}


def test_flags_that_the_help_hides_stay_hidden(script):
    text = script.read_text()
    assert "--data_root" in text
    assert "--batch_size" in text and complete(script, ROOT, "predict", "--batch") == set()  # of training only


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_the_scripts_of_other_shells_have_every_command(shell):
    done = run("-m", "ocrnet", "completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(command in done.stdout for command in COMMANDS)
    assert "ocrnet_hrnet_w18_small_cityscapes_mmseg_40k" in done.stdout
