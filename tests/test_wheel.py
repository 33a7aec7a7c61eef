"""The installed package: built as a wheel, used outside the clone."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import ocrnet

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the content of the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    clone = folder / "clone"  # setuptools creates build/ there
    for name in ("src", "scripts", "config"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE", "train.py", "eval.py"):
        shutil.copy(ROOT / name, clone)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, clone]
    subprocess.run(command, check=True, cwd=folder)
    (wheel,) = folder.glob(f"ocrnet_mindspore-{ocrnet.__version__}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_commands_find_configs_outside_the_clone(installed, tmp_path):
    (commands,) = installed.glob("*.dist-info/entry_points.txt")
    for name in ("train", "evaluate", "predict"):
        assert f"ocrnet.console:{name}" in commands.read_text()
        flags = ["--config", "config/ocrnet/ocrnet_demo.yml", "--print_config", "True"]
        flags += ["--input", ".", "--output", "."] if name == "predict" else []
        code = f"import sys; from ocrnet.console import {name}; sys.exit({name}())"
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        done = subprocess.run(
            [sys.executable, "-c", code, *flags], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert yaml.safe_load(done.stdout)["model"]["backbone"] == "hrnet_tiny"


def test_scripts_run_from_the_wheel(installed, tmp_path):
    scripts, environment = installed / "ocrnet" / "programs" / "scripts", {**os.environ, "PYTHONPATH": str(installed)}
    size = ["--train", "1", "--val", "0", "--width", "64", "--height", "64"]
    for name, flags in (
        ("make_demo_data", ["--output", tmp_path / "demo", *size]),
        ("make_lists", ["--help"]),
        ("demo_page", ["--help"]),
    ):
        done = subprocess.run(
            [sys.executable, scripts / f"{name}.py", *flags],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert len([*tmp_path.rglob("*_labelIds.png")]) == 1


def test_every_config_template_and_page_is_in_the_wheel(installed):
    def inside(folder: Path, pattern: str) -> set[str]:
        return {file.relative_to(folder).as_posix() for file in folder.rglob(pattern)}

    assert inside(installed / "ocrnet" / "programs" / "config", "*.yml") == inside(ROOT / "config", "*.yml")
    for folder in (Path("ocrnet", "evaluation", "templates"), Path("ocrnet", "demo", "page")):
        assert inside(installed / folder, "*.*") == inside(ROOT / "src" / folder, "*.*") != set()


def test_type_checkers_may_read_the_annotations(installed):
    assert (installed / "ocrnet" / "py.typed").is_file()  # PEP 561
