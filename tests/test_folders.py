"""The folders of the package: imports go one way, and private names stay in their files."""

import ast
from pathlib import Path

import pytest

from draw_design import read_imports

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "ocrnet"
ORDER = (
    ("errors", "files", "locations"),
    ("distributed", "formats"),
    ("config", "runtime"),
    ("visualization", "cloud", "data", "models", "weights"),
    ("zoo", "preflight"),
    ("inference",),
    ("evaluation",),
    ("training",),
    ("api", "console", "demo"),
    ("__main__",),
)
"""From the bottom to the top: a folder imports from those before it, and from itself."""


def test_every_import_goes_down():
    level = {name: number for number, names in enumerate(ORDER) for name in names}
    upward = [
        f"{here} imports {there}"
        for here, others in read_imports(PACKAGE).items()
        for there in others
        if level[there] >= level[here]
    ]
    assert upward == []


def test_private_names_are_not_imported():
    private = [
        f"{file.relative_to(PACKAGE)}: {alias.name}"
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ocrnet"
        for alias in node.names
        if alias.name.startswith("_")
    ]
    assert private == []


@pytest.mark.parametrize("file", [*ROOT.glob("*.py"), *ROOT.glob("scripts/*.py")], ids=lambda file: file.name)
def test_programs_import_the_package_before_what_reads_the_environment(file):
    """`device.prepare_environment` sets variables that MindSpore and OpenCV read when they are imported."""
    imported = [
        name.split(".")[0]
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    ]
    if "ocrnet" in imported:
        before = imported[: imported.index("ocrnet")]
        assert {"mindspore", "cv2"}.isdisjoint(before)


def test_every_folder_says_what_it_does():
    folders = [path for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()]
    assert {folder.name for folder in folders} == {name for names in ORDER for name in names} - {
        "errors",
        "files",
        "console",
        "locations",
        "visualization",
        "api",
        "__main__",
    }
    for folder in folders:
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))), folder
