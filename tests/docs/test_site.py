"""The documentation site is built without a warning, in both languages, from what is in the clone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import draw_design

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "scripts/build_docs.sh", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there_in_both_languages(site):
    pages = [page.stem for page in (ROOT / "docs").glob("*.md") if not page.name.endswith(".zh.md")]
    assert [name for name in pages if not (site / f"{name}.html").is_file()] == []
    assert [name for name in pages if not (ROOT / "docs" / f"{name}.zh.md").is_file()] == []
    for name in pages:
        assert 'lang="zh"' in (site / "zh" / f"{name}.html").read_text(encoding="utf-8")


def test_generated_parts_are_filled_in(site):
    for folder, title in ((site, "Loss scale"), (site / "zh", "损失缩放")):
        text = (folder / "configuration.html").read_text(encoding="utf-8")
        assert "data.photometric.hue" in text and title in text
        assert "ocrnet_resnet50_v1c_d8_voc2012aug_ssseg_60e" in (folder / "model_zoo.html").read_text()
        assert "training imports evaluation" in (folder / "design.html").read_text()
        assert "Predictor" in (folder / "api.html").read_text()
    assert not [page for page in site.rglob("*.html") if "<!-- generated:" in page.read_text(encoding="utf-8")]


def test_pages_load_nothing_from_other_servers(site):
    loading = re.compile(r"<(?:link|script|img)[^>]+(?:href|src)=\"?(?:https?:)?//[^>]*>")
    for page in site.rglob("*.html"):
        assert not loading.search(page.read_text(encoding="utf-8")), page


def write_package(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        file = folder / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.write_text(text)
    return folder


def test_imports_between_folders_are_read_from_the_code(tmp_path):
    package = write_package(
        tmp_path / "house",
        roof__tiles="from house.walls import bricks\nfrom house import ground\n",
        walls__bricks="import house.ground\nimport os\nfrom house.walls import mortar\n",
        ground="",
    )
    imports = draw_design.read_imports(package)
    assert imports == {"ground": set(), "roof": {"ground", "walls"}, "walls": {"ground"}}
    assert draw_design.layers(imports) == ([["ground"], ["walls"], ["roof"]], set())


def test_an_import_that_closes_a_cycle_is_flagged():
    imports = {"a": {"b"}, "b": {"a"}, "c": {"a"}}
    rows, upward = draw_design.layers(imports)
    assert upward == {("a", "b"), ("b", "a")} and rows == [["a", "b"], ["c"]]
    assert draw_design.draw(imports).count('stroke="#c62828"') == 2


def test_the_drawing_of_this_package_has_every_folder_and_points_down():
    imports = draw_design.read_imports()
    assert {"config", "data", "models", "training", "inference", "evaluation"} <= set(imports)
    assert draw_design.layers(imports)[1] == set()
    assert draw_design.draw(imports) == draw_design.draw(draw_design.read_imports())


def test_a_link_to_a_missing_page_stops_the_build(tmp_path):
    """mkdocs' --quiet would hide warnings from --strict."""
    pytest.importorskip("mkdocs")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[gone](gone.md)\n")
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    validation = text[text.index("validation:") :]
    (tmp_path / "mkdocs.yml").write_text(f"site_name: test\n{validation}")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", ROOT / "scripts" / "build_docs.sh", "--config-file", tmp_path / "mkdocs.yml"]
    done = subprocess.run(
        [*map(str, command), "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0 and "gone.md" in done.stderr


@pytest.mark.parametrize("name", ["design.md", "design.zh.md"])
def test_the_design_pages_name_what_there_is(name):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    package = ROOT / "src" / "ocrnet"
    english = [(match[1], match[2]) for match in re.finditer(r"`([\w.]+)` in\s+`([\w/]+\.py)`", text)]
    chinese = [(match[2], match[1]) for match in re.finditer(r"`([\w/]+\.py)` 的 `([\w.]+)`", text)]
    assert len(english + chinese) >= 14
    for thing, file in english + chinese:
        source = (package / file).read_text(encoding="utf-8")
        assert re.search(rf"^(class|def) {thing.split('.')[0]}\b", source, re.MULTILINE), (thing, file)
    for file in re.findall(r"`([\w/]+/[\w]+\.py)`", text):
        assert (package / file).is_file() or (ROOT / file).is_file(), file
    folders = {folder.name for folder in package.iterdir() if (folder / "__init__.py").is_file()}
    assert set(re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE)) == folders
