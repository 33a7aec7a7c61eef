"""Output names are unique for any tree of input files."""

import string
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ocrnet.data.datasets import image_names
from ocrnet.data.output_names import unique_names
from ocrnet.inference import media

ENDINGS = (".png", ".jpg", ".PNG", ".mp4", ".gif")
WORDS = st.sampled_from(["a", "A", "b", "a_b", "b_c", "c", "a.png", "a.mp4", "000000", "0000001", "é", "e\u0301"])
FILES = st.builds(
    lambda folders, stem, ending: Path(*folders, stem + ending),
    st.lists(WORDS, max_size=3),
    WORDS | st.text(string.ascii_letters + "._- ", min_size=1, max_size=4).filter(lambda text: text.strip(". ")),
    st.sampled_from(ENDINGS),
)
SIMPLE = st.sampled_from(["a", "b", "a_b", "c"])
FILE_NAMES = st.builds(str.__add__, SIMPLE, st.sampled_from([".png", ".jpg", ".tif"]))


def is_video(path: Path) -> bool:
    return path.suffix in (".mp4", ".gif")


def normalized(name: Path | str) -> str:
    return unicodedata.normalize("NFC", str(name)).casefold()


def outputs(path: Path, name: Path) -> list[str]:
    """The files that predict.py writes for an input in one of its folders; a video has three frames."""
    if is_video(path):
        return [f"{name}.mp4", *(f"{name}/{number:06}.png" for number in range(3))]
    return [f"{name}.png", f"{name}.jpg"]


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FILES, min_size=1, max_size=25, unique=True), st.lists(WORDS, max_size=2))
def test_outputs_are_unique_for_any_tree(files, inputs):
    paths = [Path("/data", *path.parts) for path in files]
    given_folders = [Path("/data"), *(Path("/data", folder) for folder in inputs)]
    relative = [path.relative_to([f for f in given_folders if f in path.parents][-1]) for path in paths]
    candidates = [(name.with_suffix(""), name) for name in relative]
    names = unique_names(paths, candidates, is_video)
    written = [normalized(file) for path, name in zip(paths, names, strict=True) for file in outputs(path, name)]
    assert len(set(written)) == len(written)
    folders = {normalized(folder) for file in written for folder in Path(file).parents}
    assert not folders & set(written)  # no output file has the name of an output folder
    assert all(not name.is_absolute() and ".." not in name.parts for name in names)
    assert names == unique_names(paths, candidates, is_video)


@given(st.lists(st.builds(Path, SIMPLE, SIMPLE, FILE_NAMES), min_size=1, max_size=12, unique=True))
def test_a_unique_first_candidate_is_used(files):
    plain = [path.with_suffix("") for path in files]
    expected = [name if plain.count(name) == 1 else path for name, path in zip(plain, files, strict=True)]
    assert unique_names([Path("/d") / path for path in files], list(zip(plain, files, strict=True))) == expected


@given(st.lists(FILES, min_size=1, max_size=25))
def test_each_image_of_a_data_set_has_a_unique_name(files):
    names = image_names([Path("/data") / path for path in files])
    assert len({normalized(name) for name in names}) == len(set(files))
    assert all(names[files.index(path)] == name for path, name in zip(files, names, strict=True))


def test_names_after_collisions_are_readable(tmp_path):
    root = Path("/data")
    assert image_names([root / "x/1.png", root / "y/2.png"]) == ["1", "2"]
    assert image_names([root / "x/1.png", root / "y/1.png"]) == ["x_1", "y_1"]
    assert image_names([root / "a/b_c.png", root / "a_b/c.png", root / "z/c.png"]) == ["a/b_c", "a_b/c", "z_c"]
    assert image_names([root / "a/1.png", root / "a/1.jpg"]) == ["1.png", "1.jpg"]
    for file in ("cam1/0001.png", "cam2/0001.png", "cam2/0002.png", "cam2/0002.jpg", "cam2/0003.jpg"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / file)
    found = media.find_inputs([str(tmp_path / "cam1"), str(tmp_path / "cam2")])
    assert [str(name) for name in found.values()] == ["cam1/0001", "cam2/0001", "0002.jpg", "0002.png", "0003"]


@pytest.mark.parametrize("folder", ["video", "video.png"])
def test_a_video_and_a_folder_of_the_same_name(tmp_path, folder):
    (tmp_path / folder).mkdir()
    video = cv2.VideoWriter(str(tmp_path / "video.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (16, 16))
    video.write(np.zeros((16, 16, 3), np.uint8))
    video.release()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / folder / "000000.png")
    names = media.find_inputs([str(tmp_path)])
    written = [str(name) + ("/000000.png" if path.suffix == ".avi" else ".png") for path, name in names.items()]
    assert len(set(written)) == 2 and len(names) == 2
