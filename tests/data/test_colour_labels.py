"""Colour masks: exact colours, ignored and unknown ones, the formats, packed files."""

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from ocrnet.config import DataConfig
from ocrnet.config.compatibility import compare
from ocrnet.config.schema import Config
from ocrnet.data.packed import pack
from ocrnet.data.splits import open_dataset
from ocrnet.errors import UserError

PALETTE = [(0, 0, 0), (255, 0, 0), (0, 200, 0)]
VOID = (255, 255, 255)
CLASSES = np.kron(np.array([[0, 1], [2, 255]], np.uint8), np.ones((8, 8), np.uint8))


def painted(classes: np.ndarray = CLASSES) -> np.ndarray:
    colours = np.full((256, 3), VOID, np.uint8)
    colours[:3] = PALETTE
    return colours[classes]


def data_set(folder, mask: Image.Image, name: str = "mask.png", **settings) -> DataConfig:
    Image.new("RGB", mask.size, (90, 90, 90)).save(folder / "image.png")
    mask.save(folder / name, **({"compression": "tiff_lzw"} if name.endswith(".tif") else {}))
    (folder / "train.lst").write_text(f"image.png {name}\n")
    given = {"classes": ["ground", "car", "tree"], "palette": PALETTE, "ignore_colors": [VOID]}
    return DataConfig(format="list", root=folder, train="train.lst", **{"label_encoding": "color", **given, **settings})


def read(config: DataConfig) -> np.ndarray:
    return open_dataset(config, "train").read(0)[1]


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "ppm"])
def test_colours_become_class_indices(tmp_path, ending):
    label = read(data_set(tmp_path, Image.fromarray(painted()), f"mask.{ending}"))
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, CLASSES)


def test_palette_and_grey_images_are_read_by_their_colours_on_request_only(tmp_path):
    indexed = Image.fromarray(np.where(CLASSES == 255, 3, 2 - CLASSES).astype(np.uint8))
    indexed.putpalette([level for colour in (*PALETTE[::-1], VOID) for level in colour])
    np.testing.assert_array_equal(read(data_set(tmp_path, indexed)), CLASSES)
    as_today = data_set(tmp_path, indexed, label_encoding="index", label_map={0: 0, 1: 1, 2: 2, 3: 255})
    np.testing.assert_array_equal(read(as_today), np.where(CLASSES == 255, 255, 2 - CLASSES))
    grey = Image.fromarray(np.where(CLASSES == 255, 255, 0).astype(np.uint8))
    np.testing.assert_array_equal(read(data_set(tmp_path, grey)), np.where(CLASSES == 255, 255, 0))


def test_opaque_alpha_is_no_matter_and_transparent_pixels_are_white(tmp_path):
    alpha = np.where(CLASSES == 255, 0, 255).astype(np.uint8)
    mask = Image.fromarray(np.dstack([painted(np.where(CLASSES == 255, 0, CLASSES)), alpha]))
    np.testing.assert_array_equal(read(data_set(tmp_path, mask)), CLASSES)


def smooth(tmp_path, **settings) -> DataConfig:
    """A mask of twice the size, reduced with anti-aliasing: its row and column 8 have mixed colours."""
    classes = np.zeros((32, 32), np.uint8)
    classes[:, 17:] = 1
    mask = Image.fromarray(painted(classes)).resize((16, 16), Image.Resampling.BOX)
    return data_set(tmp_path, mask, **settings)


def test_anti_aliased_edges_are_counted_and_named(tmp_path):
    message = (
        r"mask\.png: 16 of 256 pixels have 1 colours that are neither in data\.palette nor in data\.ignore_colors: "
        r"\[12[78], 0, 0\] \(16 pixels\)\. 16 of these pixels lie between two classes, as in anti-aliased edges: .* or "
        r"set data\.unknown_colors to ignore or nearest"
    )
    with pytest.raises(UserError, match=message):
        read(smooth(tmp_path))
    expected = np.tile((np.arange(16) > 8).astype(np.uint8), (16, 1))
    expected[:, 8] = 255
    np.testing.assert_array_equal(read(smooth(tmp_path, unknown_colors="ignore")), expected)
    nearest = read(smooth(tmp_path, unknown_colors="nearest"))
    assert nearest[0, 8] in (0, 1) and (np.delete(nearest, 8, 1) == np.delete(expected, 8, 1)).all()


def test_nearest_is_the_smallest_distance_in_rgb(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    label = read(data_set(tmp_path, Image.fromarray(colours), unknown_colors="nearest"))
    known = np.array([*PALETTE, VOID])
    distances = ((colours[..., None, :].astype(int) - known) ** 2).sum(-1)
    np.testing.assert_array_equal(label, np.array([0, 1, 2, 255])[distances.argmin(-1)])


def test_a_colour_of_no_class_that_is_no_edge_is_named(tmp_path):
    mask = painted()
    mask[:2, :2] = (7, 8, 9)
    with pytest.raises(UserError, match=r"\[7, 8, 9\] \(4 pixels\)\. Add them to data\.palette or data\.ignore_colors"):
        read(data_set(tmp_path, Image.fromarray(mask)))


def test_lossy_masks_are_errors(tmp_path):
    with pytest.raises(UserError, match=r"mask\.jpg: JPEG compression may change colours: save .* as PNG"):
        read(data_set(tmp_path, Image.fromarray(painted()), "mask.jpg", unknown_colors="nearest"))


def test_without_the_key_a_colour_mask_is_an_error_with_the_key(tmp_path):
    with pytest.raises(UserError, match=r"this one is RGB\. If its colours are the classes, set data\.label_encoding"):
        read(data_set(tmp_path, Image.fromarray(painted()), label_encoding="index"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"palette": []}, "label_encoding color needs one colour per class"),
        ({"palette": [PALETTE[0], PALETTE[1], PALETTE[0]]}, r"\[0, 0, 0\] is 'ground' and 'tree'"),
        ({"ignore_colors": [PALETTE[1]]}, r"\[255, 0, 0\] is 'car' and 'ignored'"),
    ],
)
def test_a_colour_has_one_meaning(tmp_path, settings, message):
    with pytest.raises(ValidationError, match=message):
        data_set(tmp_path, Image.fromarray(painted()), **settings)


def test_packed_colour_masks(tmp_path):
    config = data_set(tmp_path, Image.fromarray(painted()))
    pack(open_dataset(config, "train"), tmp_path / "train.packed", range(1))
    packed = config.replace({"packed": tmp_path / "train.packed"})
    np.testing.assert_array_equal(read(packed), CLASSES)
    with pytest.raises(UserError, match=r"packed with other classes or another data\.palette"):
        open_dataset(packed.replace({"palette": PALETTE[::-1]}), "train")


def test_a_resumed_run_keeps_the_meaning_of_colours_but_may_accept_unknown_ones(tmp_path):
    data = {"format": "list", "classes": ["a", "b"], "palette": [[0, 0, 0], [9, 9, 9]], "label_encoding": "color"}
    before = Config(data=data).to_yaml()
    for change, problem in (
        ({"palette": [[9, 9, 9], [0, 0, 0]]}, "data.palette"),
        ({"ignore_colors": [[1, 1, 1]]}, "data.ignore_colors"),
        ({"label_encoding": "index"}, "data.label_encoding"),
        ({"unknown_colors": "nearest"}, ""),
    ):
        problems, note = compare(tmp_path, before, Config(data={**data, **change}), "resume")
        assert [line.partition(":")[0] for line in problems] == [problem][: bool(problem)]
        assert ("data.unknown_colors" in note) == (not problem)
