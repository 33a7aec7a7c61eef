"""A packed data set has the same samples as the original files."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ocrnet.config import DataConfig
from ocrnet.data.loader import TrainingSamples
from ocrnet.data.packed import pack
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


def test_a_fold_is_left_out_of_a_packed_file(demo, packed):
    files, part = (
        open_dataset(DataConfig(root=demo, packed=path, held_out_fold=(0, 3)), "train") for path in (None, packed)
    )
    assert len(part) == 8 and part.pairs == files.pairs
    for number in range(8):
        for from_files, from_packed in zip(files.read(number), part.read(number), strict=True):
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


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")
def test_processes_share_the_memory_of_a_packed_file(demo, tmp_path):
    path = tmp_path / "train.packed"
    dataset = open_dataset(DataConfig(root=demo), "train")
    pack(dataset, path, [index for _ in range(80) for index in range(len(dataset))])
    code = """
import json, sys
from pathlib import Path
sys.path.insert(0, "src")
from ocrnet.config import DataConfig
from ocrnet.data.packed import PackedDataset

def kB(mapping, name):
    return sum(int(line.split()[1]) for line in mapping if line.startswith(name))

def mappings():
    text = Path("/proc/self/smaps").read_text().splitlines()
    starts = [number for number, line in enumerate(text) if "-" in line.split()[0]] + [len(text)]
    return [text[start:end] for start, end in zip(starts, starts[1:])]

path, root = map(Path, sys.argv[1:])
dataset = PackedDataset(path, DataConfig(root=root))
own = sum(kB(mapping, "Anonymous:") for mapping in mappings())
for index in range(len(dataset)):
    for array in dataset.open(index):
        array.max()
own = sum(kB(mapping, "Anonymous:") for mapping in mappings()) - own
print("read", flush=True)
sys.stdin.readline()  # until all processes have read the file
file = next(mapping for mapping in mappings() if mapping[0].endswith(path.name))
print(json.dumps([own, kB(file, "Rss:"), kB(file, "Pss:")]), flush=True)
sys.stdin.readline()
"""
    command = [sys.executable, "-c", code, path, demo]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[2])
    processes = [subprocess.Popen(command, **pipes) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "read\n"
    found = []
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
        found.append(json.loads(process.stdout.readline()))
    for process in processes:
        process.communicate("\n")
    size = path.stat().st_size / 1024
    assert size > 30_000
    assert all(own < size / 10 for own, _, _ in found)  # each process's own memory does not grow by the file's size
    assert all(resident > 0.9 * size for _, resident, _ in found)  # though each has read the whole file
    assert sum(proportional for _, _, proportional in found) == pytest.approx(size, rel=0.05)  # in memory only once
