"""What a release consists of agrees: one version everywhere, lock files of this repository's requirements."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import ocrnet

ROOT = Path(__file__).resolve().parent.parent


def test_the_version_is_the_same_everywhere():
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "ocrnet", "--version"]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    newest = re.search(r"^## \[(\S+)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert printed == f"ocrnet {ocrnet.__version__}\n"
    assert newest[1] == citation["version"] == ocrnet.__version__
    assert newest[2] == str(citation["date-released"])


@pytest.mark.parametrize(
    ("locked", "files"),
    [("demo", ["requirements.txt"]), ("tests", ["requirements.txt", "requirements-docs.txt", "requirements-test.txt"])],
)
def test_the_lock_files_satisfy_the_requirements(locked, files):
    text = (ROOT / "locks" / f"{locked}.txt").read_text(encoding="utf-8")
    pins = re.findall(r"^([\w.-]+)(?:\[\w+\])?==(\S+)", text, re.MULTILINE)  # some have one version for each Python
    assert text.count("--hash=sha256:") >= len(pins) and "://" not in text
    names = {name.lower().replace("_", "-") for name, _ in pins}
    for file in files:
        for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
            line = line.partition("#")[0].strip()
            if not line or line.startswith("-r"):
                continue
            wanted = Requirement(line)
            name = wanted.name.lower().replace("_", "-")
            assert name in names, line
            versions = [version for pin, version in pins if pin.lower().replace("_", "-") == name]
            assert all(wanted.specifier.contains(Version(version)) for version in versions), (line, versions)
