"""scripts/make_demo_data.py: layout, annotation and determinism of the generated data set."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
from ocrnet.formats.cityscapes import CLASS_NAMES, LABEL_MAP, LABELS, find_pairs  # noqa: E402


def make(output: Path, *options: object) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "scripts" / "make_demo_data.py", "--output", output, *options]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("data") / "demo"
    done = make(output, "--train", 12, "--val", 8, "--width", 256, "--height", 128)
    assert done.returncode == 0, done.stderr
    assert f"--data_root {output}" in done.stdout.splitlines()[-1]
    return output


def test_layout_and_names(demo: Path) -> None:
    for split, count in (("train", 12), ("val", 8)):
        pairs = find_pairs(demo, split)
        assert len(pairs) == count
        for image, label in pairs:
            match = re.fullmatch(r"([a-z]+)_\d{6}_\d{6}_leftImg8bit\.png", image.name)
            assert match and match[1] == image.parent.name == label.parent.name
            stem = label.name.removesuffix("labelIds.png")
            for kind, mode in (("labelIds", "L"), ("color", "RGBA")):
                with Image.open(label.with_name(f"{stem}{kind}.png")) as file:
                    assert (file.size, file.mode) == ((256, 128), mode)
            with Image.open(image) as file:
                assert (file.size, file.mode) == ((256, 128), "RGB")


def test_every_class_occurs_in_both_splits(demo: Path) -> None:
    table = np.full(256, 255)
    table[list(LABEL_MAP)] = list(LABEL_MAP.values())
    for split in ("train", "val"):
        pixels = sum(
            np.bincount(table[np.asarray(Image.open(p)).ravel()], minlength=256) for _, p in find_pairs(demo, split)
        )
        share = dict(zip(CLASS_NAMES, pixels / pixels.sum(), strict=False))
        assert min(share.values()) > 0.002, share


def test_labels_equal_the_polygons_filled_in_order(demo: Path) -> None:
    rows = {label.name: label for label in LABELS}
    _, path = find_pairs(demo, "train")[0]
    drawn = json.loads(path.with_name(path.name.replace("labelIds.png", "polygons.json")).read_text())
    assert (drawn["imgWidth"], drawn["imgHeight"]) == (256, 128)
    ids, instances = Image.new("L", (256, 128)), Image.new("I", (256, 128))
    seen = dict.fromkeys(rows, 0)
    for item in drawn["objects"]:
        label, corners = rows[item["label"]], [tuple(corner) for corner in item["polygon"]]
        number = label.id * 1000 + seen[label.name] if label.has_instances else label.id
        seen[label.name] += 1
        ImageDraw.Draw(ids).polygon(corners, fill=label.id)
        ImageDraw.Draw(instances).polygon(corners, fill=number)
    stored = Image.open(path.with_name(path.name.replace("labelIds", "instanceIds")))
    np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(ids))
    np.testing.assert_array_equal(np.asarray(stored).astype(int), np.asarray(instances))
    assert np.asarray(stored).max() >= 24000


def test_a_scene_depends_on_seed_split_and_index_only(demo: Path, tmp_path: Path) -> None:
    size = ("--width", 256, "--height", 128)
    assert make(tmp_path / "same", "--train", 2, "--val", 1, *size).returncode == 0
    assert make(tmp_path / "other", "--train", 2, "--val", 1, "--seed", 1, *size).returncode == 0
    whole, same, other = contents(demo), contents(tmp_path / "same"), contents(tmp_path / "other")
    assert len(same) == 15 and same.keys() == other.keys()
    assert all(whole[name] == data for name, data in same.items())
    images = [name for name in same if name.endswith("leftImg8bit.png")]
    assert all(same[name] != other[name] for name in images)
    assert len({same[name] for name in images}) == 3


@pytest.mark.parametrize(
    ("options", "value"),
    [(("--train", -1), "-1"), (("--width", 63), "63"), (("--height", 8), "8"), (("--seed", -3), "-3")],
)
def test_invalid_numbers_are_errors_of_one_line(tmp_path: Path, options: tuple, value: str) -> None:
    done = make(tmp_path / "demo", *options)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and value in done.stderr and options[0] in done.stderr
    assert not (tmp_path / "demo").exists()


def test_output_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = make(tmp_path / "file" / "demo", "--train", 1)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and str(tmp_path / "file") in done.stderr


def test_error_for_a_missing_split_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"leftImg8bit.*--data_root"):
        find_pairs(tmp_path, "val")
