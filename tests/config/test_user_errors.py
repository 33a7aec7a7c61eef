"""User errors print one clear message on stderr, without a traceback, and exit with a non-zero status."""

import shutil
from importlib.metadata import version

import numpy as np
import pytest
from PIL import Image

from ocrnet.config import Config, ModelConfig
from ocrnet.models.ocrnet import OCRNet
from ocrnet.training.checkpoint import CheckpointFolder
from ocrnet.training.run_progress import Progress

CONFIG_FILE = "config/ocrnet/ocrnet_demo.yml"
SMALL = {"head_channels": 16, "key_channels": 8, "context_channels": 16}
TINY = [flag for key, value in SMALL.items() for flag in ("--set", f"model.{key}={value}")]


@pytest.fixture(scope="module")
def five_classes(tmp_path_factory):
    """A checkpoint of a network for 5 classes."""
    classes = ["a", "b", "c", "d", "e"]
    config = Config(save_dir=tmp_path_factory.mktemp("five"), data={"format": "list", "classes": classes})
    network = OCRNet(ModelConfig(backbone="hrnet_tiny", **SMALL), 5)
    folder = CheckpointFolder(config)
    folder.open(None, {})
    folder.save(network.parameters_dict(), Progress(step=1), is_best=True)
    return folder.best


@pytest.fixture
def error_message(run_script, demo, tmp_path):
    """Runs a script that must fail and returns its error message."""

    def run(script, *flags, root=demo):
        base = ["--config", CONFIG_FILE, "--dataset_dir", root, "--save_dir", tmp_path / "run", *TINY]
        done = run_script(script, *base, "--total_step", "2", "--ms_mode", "1", *flags)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "Traceback" not in done.stderr and "WARNING" not in done.stderr
        message = done.stderr[done.stderr.index("error: ") :]
        return message

    return run


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--set", "train.batchsize=2"], "unknown key (in --set train.batchsize). Did you mean batch_size?"),
        (
            ["--set", "optimizer.groups=[{name: bn, lr_factr: 2}]"],
            "optimizer.groups.0.lr_factr: unknown key (in --set optimizer.groups). Did you mean lr_factor?",
        ),
        (["--set", "optimizer.groups=[{lr_factor: 2}]"], "optimizer.groups.0.name: Field required"),
        (
            ["--set", "optimizer.groups=[{name: backbone.stge4}]"],
            "optimizer.groups: 'backbone.stge4' is in the name of no parameter that is trained. Did you mean backbone.",
        ),
        (["--set", "loss.focal=2", "--set", "loss.ohem={}"], "loss.focal, loss.ohem: both choose the hard pixels"),
        (["--batch_size", "two"], "train.batch_size: Input should be a valid integer"),
        (["--set", "data.flip=True"], "data.flip: Input should be a number, got True (in --set data.flip)"),
        (["--mix", "True", "--ms_loss_scaler", "none"], "gradients in float16 underflow to 0 without a loss scale."),
        (["--set", "model.freeze=backbone"], "model.freeze: the backbone has random weights and would not be trained."),
        (["--set", "data.ignore_index=7"], "data.label_map, data.ignore_index: label value 7 is class 0 ('road') in"),
        (["--device_target", "TPU"], "device_target: Input should be 'Ascend', 'GPU' or 'CPU', got 'TPU'"),
        (["--device_target", "Ascend"], f"Ascend: not available: MindSpore {version('mindspore')} could not load"),
        (["--dataset_dir", "no/such/folder"], "no/such/folder/leftImg8bit"),
        (["--resume_ckpt", "nowhere.ckpt"], "nowhere.ckpt: checkpoint not found"),
        (["--save_dir", "/proc/run"], "save_dir /proc/run: cannot write here"),
    ],
)  # fmt: skip
def test_flags_and_folders(error_message, flags, message):
    text = error_message("train.py", *flags)
    assert message in text and len(text.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("damage", "message", "finding"),
    [
        ("no label", "_gtFine_labelIds.png: label file of image", ""),
        ("no images", "no images found; data.train (split 'train') is empty", ""),
        ("unknown value", "label value 77 is not one of the 19 classes", "error: label values of another map"),
        (
            "other size",
            "the label is 64 x 64 pixels (width x height), its image",
            "error: an image and its label have different sizes",
        ),
    ],
)
def test_damaged_data(error_message, demo, tmp_path, damage, message, finding):
    """One line, after what the check before a training finds in the label files."""
    root = tmp_path / "data"
    shutil.copytree(demo, root)
    for label in sorted((root / "gtFine" / "train").glob("*/*_labelIds.png")):
        if damage == "no label":
            label.unlink()
            break
        if damage == "unknown value":
            Image.fromarray(np.full((64, 128), 77, np.uint8)).save(label)
        if damage == "other size":
            Image.fromarray(np.full((64, 64), 7, np.uint8)).save(label)
    if damage == "no images":
        for image in (root / "leftImg8bit" / "train").glob("*/*.png"):
            image.unlink()
    text = error_message("train.py", root=root)
    found, _, error = text.rpartition("error: ")
    assert message in error and len(error.strip().splitlines()) == 1
    assert found.startswith(finding) and found.count("error: ") == bool(finding)


@pytest.mark.parametrize("script", ["train.py", "eval.py"])
def test_a_checkpoint_of_another_class_count_names_tensors_and_shapes(error_message, five_classes, script):
    flag = "--resume_ckpt" if script == "train.py" else "--ckpt_path"
    text = error_message(script, flag, five_classes)
    assert "ocr_head.classifier.weight: shape (5, 16, 1, 1) in the file, (19, 16, 1, 1) in the network" in text
    assert script == "train.py" or "trained for 5 classes, the config has 19" in text


def test_a_checkpoint_cut_in_half(error_message, five_classes, tmp_path):
    half = tmp_path / "half.ckpt"
    content = five_classes.read_bytes()
    half.write_bytes(content[: len(content) // 2])
    assert f"{half}: not a readable checkpoint" in error_message("eval.py", "--ckpt_path", half)


def test_a_missing_checkpoint(error_message):
    assert "best.ckpt: checkpoint not found" in error_message("eval.py")
