"""Each label value has one meaning: a class, or ignored."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from ocrnet.config import DataConfig
from ocrnet.config.loading import load_config
from ocrnet.data.datasets import SegmentationDataset
from ocrnet.data.loader import TrainingSamples
from ocrnet.data.packed import pack
from ocrnet.data.splits import open_dataset
from ocrnet.errors import UserError
from ocrnet.formats.label_values import class_table, file_values

PLAIN = {"scale_range": (1, 1), "flip": 0, "photometric": None, "cat_max_ratio": 1}


def dataset_of(folder: Path, values: list[int], **data) -> SegmentationDataset:
    """Returns a data set of one pair whose label is a row of `values`; a training sample is the whole image."""
    label = np.array([values], np.uint8)
    Image.fromarray(label).save(folder / "label.png")
    Image.fromarray(np.zeros((*label.shape, 3), np.uint8)).save(folder / "image.png")
    config = DataConfig(format="list", root=folder, crop_size=label.shape, **PLAIN, **data)
    return SegmentationDataset([(folder / "image.png", folder / "label.png")], config)


def trained_label(dataset: SegmentationDataset) -> list[int]:
    return TrainingSamples(dataset, dataset.config, 0, 1, 0, 1)[0][1][0].tolist()


@pytest.mark.parametrize(
    ("data", "values", "expected"),
    [
        ({"label_map": {0: 0, 255: 1}, "ignore_index": None}, [0, 255], [0, 1]),  # masks of 0 and 255
        ({"label_map": {1: 0, 2: 1}, "ignore_index": 0}, [0, 1, 2], [255, 0, 1]),  # 0 is not a class
        ({"label_map": {1: 0, 2: 1, 9: "ignore", 8: 255}}, [1, 2, 9, 8, 255], [0, 1, 255, 255, 255]),
        ({"label_map": {1: 0, 2: 1, 9: 7}, "ignore_index": 7}, [1, 2, 9, 7], [0, 1, 255, 255]),
        ({"label_map": {0: 1, 1: 0}, "ignore_index": None}, [0, 1], [1, 0]),
    ],
)
def test_label_map_and_ignore_index_are_applied(tmp_path, data, values, expected):
    dataset = dataset_of(tmp_path, values, classes=["a", "b"], **data)
    assert trained_label(dataset) == expected
    assert set(dataset.config.label_map.values()) <= {0, 1, 255}


def test_without_an_ignored_value_255_must_be_mapped(tmp_path):
    with pytest.raises(UserError, match="label value 255 is not one of the 2 classes and not ignore_index null"):
        dataset_of(tmp_path, [0, 255], classes=["a", "b"], ignore_index=None).read(0)


def definition(value: int, label_map: dict, ignore_index: int | None, count: int) -> int | None:
    """Returns the class index of a label value, or None if it is invalid. Raises ValueError if it has two meanings."""
    targets = label_map or {index: index for index in range(count)}
    meanings = {255} if value == ignore_index else set()
    if value in targets:
        target = targets[value]
        if target not in (*range(count), 255, "ignore", ignore_index):
            raise ValueError
        meanings.add(target if target in range(count) else 255)
    if len(meanings) > 1:
        raise ValueError
    return meanings.pop() if meanings else None


small = st.integers(0, 12)
value = small | st.sampled_from([253, 254, 255])


@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    label_map=st.dictionaries(value, small | st.sampled_from([255, "ignore"]), max_size=8),
    ignore_index=st.none() | value,
    count=st.integers(1, 10),
)
def test_any_label_map_equals_the_definition_or_is_an_error(tmp_path, label_map, ignore_index, count):
    data = {"classes": [f"class {index}" for index in range(count)]}
    data |= {"label_map": label_map, "ignore_index": ignore_index}
    try:
        expected = {value: definition(value, label_map, ignore_index, count) for value in range(256)}
    except ValueError:
        with pytest.raises(ValidationError, match=r"label_map|ignore_index"):
            DataConfig(format="list", **data)
        return
    values = [value for value, meaning in expected.items() if meaning is not None]
    dataset = dataset_of(tmp_path, values, **data)
    assert trained_label(dataset) == [expected[value] for value in values]
    written = file_values(dataset.class_table, count)
    for index in range(count):
        of_class = [value for value in values if expected[value] == index]
        assert written[index] == of_class[0] if of_class else expected[written[index]] in (255, None)


@pytest.mark.parametrize(
    ("data", "flags", "message"),
    [
        (
            "label_map: {0: 0, 255: 1}",
            {},
            "data.label_map, data.ignore_index: label value 255 is class 1 ('b') in data.label_map and ignored by "
            "data.ignore_index. Set data.ignore_index to the label value of ignored pixels, or to null if there is "
            "none (data.label_map: RUN.YML; data.ignore_index: default)",
        ),
        (
            "label_map: {1: 0, 7: 1}",
            {"data.ignore_index": (7, "--set data.ignore_index")},
            "or to null if there is none (data.label_map: RUN.YML; data.ignore_index: --set data.ignore_index)",
        ),
        ("ignore_index: 0", {}, "data.ignore_index: 0 is also class 'a'. Map each label value in data.label_map, e.g."),
        ("label_map: {1: 0, 0x1: 1}", {}, "key '0x1' is given twice, as 1 before"),
        ("label_map: {1: 0, 1.0: 1}", {}, "key '1.0' is given twice, as 1 before"),
        ("label_map: {true: 0, 1: 1}", {}, "key '1' is given twice, as true before"),
        ('label_map: {"1": 0, 1: 1}', {}, "data.label_map: label value 1 is given twice, got {'1': 0, 1: 1}"),
        ("label_map: {true: 0}", {}, "Input should be a number, got True"),
        ("label_map: {0: 0, 1: yes}", {}, "data.label_map.1: Input should be a number, got True"),
    ],
)
def test_a_value_with_two_meanings_is_an_error_with_both_sources(tmp_path, data, flags, message):
    path = tmp_path / "run.yml"
    path.write_text(f"data: {{format: list, classes: [a, b], {data}}}\n")
    with pytest.raises(UserError) as error:
        load_config(path, flags)
    assert message.replace("RUN.YML", str(path)) in str(error.value)


def test_at_most_254_classes():
    names = [f"class {index}" for index in range(255)]
    assert class_table({}, None, names[:254]).tolist() == [*range(254), 254, 254]
    assert len(DataConfig(format="list", classes=names[:254]).classes) == 254
    with pytest.raises(ValidationError, match="classes: 255 classes; at most 254"):
        DataConfig(format="list", classes=names)


def test_a_class_without_a_label_value_gets_an_ignored_or_invalid_value():
    table = class_table({1: 0, 5: 2, 3: 2}, 255, ["a", "b", "c"])
    assert file_values(table, 3).tolist() == [1, 255, 3]
    assert file_values(class_table({1: 0, 2: 1}, 0, ["a", "b"]), 2).tolist() == [1, 2]


def test_packed_labels_of_another_label_map_are_an_error(tmp_path):
    dataset = dataset_of(tmp_path, [0, 1, 2], classes=["a", "b"], label_map={1: 0, 2: 1}, ignore_index=0)
    pack(dataset, tmp_path / "train.packed", range(1))
    packed = dataset.config.replace({"packed": tmp_path / "train.packed"})
    assert trained_label(open_dataset(packed, "train")) == [255, 0, 1]
    content = (tmp_path / "train.packed").read_bytes()
    earlier = content.replace(b', "version": 2', b"")  # as packed when class 0 was regarded as ignored
    assert len(earlier) == len(content) - 14
    (tmp_path / "train.packed").write_bytes(earlier)
    with pytest.raises(UserError, match=r"train\.packed: was packed with other classes or another data\.label_map"):
        open_dataset(packed, "train")
