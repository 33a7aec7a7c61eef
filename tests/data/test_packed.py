"""A packed data set has the same samples as the original files."""

import numpy as np
import pytest

from ocrnet.config import DataConfig
from ocrnet.data.loader import TrainingSamples
from ocrnet.data.splits import open_dataset
from ocrnet.errors import UserError


@pytest.fixture(scope="module")
def packed(demo, run_script, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "train.packed"
    config_file = "config/ocrnet/ocrnet_demo.yml"
    done = run_script("scripts/pack_dataset.py", "--config", config_file, "--dataset_dir", demo, "--output", path)
    assert done.returncode == 0 and "12 pairs" in done.stdout, done.stderr
    return path


def test_samples_are_the_same_packed_and_unpacked(demo, packed):
    config = DataConfig(root=demo, crop_size=(32, 64))
    files, packed_set = (open_dataset(config.model_copy(update={"packed": path}), "train") for path in (None, packed))
    assert packed_set.pairs == files.pairs and packed_set.names == files.names
    samples = [TrainingSamples(dataset, config, 3, 4, 0, 24) for dataset in (files, packed_set)]
    for number in range(24):
        for from_files, from_packed in zip(samples[0][number], samples[1][number], strict=True):
            np.testing.assert_array_equal(from_files, from_packed)


def test_invalid_packed_files_are_errors(demo, packed, tmp_path):
    def opened(path, **settings):
        return open_dataset(DataConfig(root=demo, packed=path, **settings), "train")

    with pytest.raises(UserError, match=r"nothing\.packed: cannot read it: No such file"):
        opened(tmp_path / "nothing.packed")
    (tmp_path / "half.packed").write_bytes(packed.read_bytes()[:-5000])
    with pytest.raises(UserError, match=r"half\.packed: not a packed data set, or truncated"):
        opened(tmp_path / "half.packed")
    with pytest.raises(UserError, match="packed with other classes"):
        opened(packed, classes=["road"], palette=[], label_map={7: 0})
