"""The folders of the package: imports go one way, and private names stay in their files."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "ocrnet"
ORDER = (
    ("errors", "files", "console"),
    ("distributed", "formats"),
    ("config", "runtime"),
    ("visualization", "cloud", "data", "models", "weights"),
    ("inference",),
    ("evaluation",),
    ("training",),
)
"""From the bottom to the top: a folder imports from those before it, and from itself."""


def imports(file: Path) -> list[tuple[str, list[str]]]:
    """(module below ocrnet, names) of each import in a file."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ocrnet":
            names = [alias.name for alias in node.names]
            modules = [node.module.removeprefix("ocrnet").lstrip(".")]
            if modules == [""]:
                modules = names
            found += [(module, names) for module in modules]
    return found


def test_every_import_goes_down():
    level = {name: number for number, names in enumerate(ORDER) for name in names}
    upward = []
    for file in PACKAGE.rglob("*.py"):
        here = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if here == "__init__":
            continue
        for module, _ in imports(file):
            there = module.split(".")[0]
            if there != here and level[there] >= level[here]:
                upward.append(f"{file.relative_to(PACKAGE)} imports {module}")
    assert upward == []


def test_private_names_are_not_imported():
    private = [
        f"{file.relative_to(PACKAGE)}: {name}"
        for file in PACKAGE.rglob("*.py")
        for _, names in imports(file)
        for name in names
        if name.startswith("_")
    ]
    assert private == []


def test_every_folder_says_what_it_does():
    folders = [path for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()]
    assert {folder.name for folder in folders} == {name for names in ORDER for name in names} - {
        "errors",
        "files",
        "console",
        "visualization",
    }
    for folder in folders:
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))), folder
