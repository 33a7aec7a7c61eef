"""The drawing of the package: its folders in layers and the imports between them, read from the code.

    python docs/hooks/draw_design.py --output design.svg

A folder is one layer above the highest folder that it imports from, so imports point down. Imports that go up or
sideways, which would close a cycle, are drawn in red with broken lines.
"""

import argparse
import ast
from html import escape
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "ocrnet"
WIDTH, BOX, HEIGHT, GAP = 1000, 150, 44, 84  # of the drawing; of a box; between two layers

Imports = dict[str, set[str]]
"""{folder or file of the package: the others that it imports from}"""


def read_imports(package: Path = PACKAGE) -> Imports:
    """The imports between the folders of a package; a file next to them counts as a folder of its own."""
    names = {
        path.name.removesuffix(".py")
        for path in package.iterdir()
        if (path / "__init__.py").is_file() or (path.suffix == ".py" and path.name != "__init__.py")
    }
    imports: Imports = {name: set() for name in sorted(names)}
    for file in sorted(package.rglob("*.py")):
        here = file.relative_to(package).parts[0].removesuffix(".py")
        if here in names:
            imports[here] |= {name for name in _imported(file, package.name) if name in names and name != here}
    return imports


def _imported(file: Path, package: str) -> set[str]:
    """First names below the package of everything that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith(f"{package}.")}
        elif isinstance(node, ast.ImportFrom) and node.module == package:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{package}."):
            found.add(node.module.split(".")[1])
    return found


def layers(imports: Imports) -> tuple[list[list[str]], set[tuple[str, str]]]:
    """Folders from the bottom layer to the top one, and the (importer, imported) pairs that point upward or sideways.

    Folders on a cycle share the layer that they have without the cycle's imports.
    """
    upward = {
        (here, there) for here, others in imports.items() for there in others if here in _reachable(there, imports)
    }
    level: dict[str, int] = {}

    def place(name: str) -> int:
        if name not in level:
            below = [place(other) for other in sorted(imports[name]) if (name, other) not in upward]
            level[name] = 1 + max(below, default=-1)
        return level[name]

    for name in sorted(imports):
        place(name)
    rows = [sorted(name for name in level if level[name] == row) for row in range(1 + max(level.values(), default=-1))]
    return rows, upward


def _reachable(start: str, imports: Imports) -> set[str]:
    seen, todo = set(), [start]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += imports[name]
    return seen


def draw(imports: Imports) -> str:
    """The drawing as SVG, the same for the same imports. What a longer way already implies is drawn lighter."""
    rows, upward = layers(imports)
    height = len(rows) * (HEIGHT + GAP) - GAP + 40
    centre: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        y = height - 20 - HEIGHT / 2 - number * (HEIGHT + GAP)
        for place, name in enumerate(_ordered(row, imports, centre)):
            centre[name] = (WIDTH * (2 * place + 1) / (2 * len(row)), y)
    lines = [
        f'<svg class="design" viewBox="0 0 {WIDTH} {height:g}" role="img" xmlns="http://www.w3.org/2000/svg" '
        'font-family="sans-serif" font-size="17">',
        f"<title>{len(imports)} folders and files of the package, {len(upward)} imports that point upward</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="context-stroke"/></marker></defs>',
    ]
    pairs = sorted((here, there) for here, others in imports.items() for there in others)
    for here, there in pairs:
        red = (here, there) in upward
        implied = any(there in _reachable(other, imports) for other in imports[here] - {there})
        (x1, y1), (x2, y2) = centre[here], centre[there]
        side = HEIGHT / 2 if y1 < y2 else -HEIGHT / 2
        style = 'stroke="#c62828" stroke-width="2.5" stroke-dasharray="7 5"' if red else 'stroke="currentColor"'
        faint = ' stroke-opacity="0.25"' if implied and not red else ""
        bend = (y2 - y1) / 2
        lines.append(
            f'<path d="M{x1:g},{y1 + side:g} C{x1:g},{y1 + bend:g} {x2:g},{y2 - bend:g} {x2:g},{y2 - side:g}" '
            f'fill="none" {style}{faint} marker-end="url(#tip)"><title>{escape(here)} imports {escape(there)}'
            "</title></path>"
        )
    for name, (x, y) in sorted(centre.items()):
        folder = (PACKAGE / name).is_dir()
        lines.append(
            f'<rect x="{x - BOX / 2:g}" y="{y - HEIGHT / 2:g}" width="{BOX}" height="{HEIGHT}" rx="6" '
            f'fill="{"#e8eaf6" if folder else "#eceff1"}" stroke="#3f51b5"/>'
            f'<text x="{x:g}" y="{y + 6:g}" text-anchor="middle" fill="#1a237e">'
            f"{escape(name)}{'/' if folder else '.py'}</text>"
        )
    lines.append("</svg>")
    return "\n".join(lines)


def _ordered(row: list[str], imports: Imports, centre: dict[str, tuple[float, float]]) -> list[str]:
    """A layer from left to right: each folder as near as possible to those that it imports from."""

    def place(name: str) -> tuple[float, str]:
        below = [centre[other][0] for other in imports[name] if other in centre]
        return (sum(below) / len(below) if below else 0.0), name

    return sorted(row, key=place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.svg")
    parser.parse_args().output.write_text(draw(read_imports()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
