"""train.py and eval.py with a tiny network on synthetic images of 128 x 64."""

import hashlib
import json
import re
import shutil

import mindspore as ms
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from ocrnet.config import DataConfig
from ocrnet.data.splits import open_dataset

CONFIG_FILE = "config/ocrnet/ocrnet_demo.yml"
_TINY = (
    "--set model.head_channels=16 --set model.key_channels=8 --set model.context_channels=16 "
    "--set data.crop_size=[32,64] --set checkpoint.interval=4 --set schedule.warmup_steps=2 "
    "--batch_size 4 --total_step 8 --log_interval 1 --run_eval False"
)
TINY = _TINY.split()
_STRAIGHT = (
    "--ms_loss_scaler dynamic --set train.loss_scale.window=3 --run_eval True --set eval.interval=4 --set train.ema=0.9"
)
STRAIGHT = _STRAIGHT.split()


def losses(folder) -> dict[int, str]:
    """Returns {step: logged losses and learning rate}."""
    lines = (folder / "train.log").read_text().splitlines()
    return {int(m[1]): m[2] for line in lines if (m := re.match(r"step (\d+)/\d+, (.*), cost", line))}


def weights(path) -> dict[str, np.ndarray]:
    stored = ms.load_checkpoint(str(path))
    return {name: value.asnumpy() for name, value in stored.items() if isinstance(value, ms.Parameter)}


@pytest.fixture(scope="module")
def train(run_script, demo):
    def run(folder, *flags):
        base = ["--config", CONFIG_FILE, "--dataset_dir", demo, "--save_dir", folder, *TINY]
        return run_script("train.py", *base, *flags)

    return run


@pytest.fixture(scope="module")
def straight(train, tmp_path_factory):
    """A run of 8 steps in graph mode with a dynamic loss scale and EMA, evaluated after steps 4 and 8; profiled."""
    folder = tmp_path_factory.mktemp("straight")
    done = train(folder, *STRAIGHT, "--profile", "3")
    assert done.returncode == 0, done.stderr
    return folder, done


def test_training_writes_checkpoints_log_and_config_without_warnings(straight):
    folder, done = straight
    assert {file.name for file in (folder / "checkpoint").iterdir()} == {
        "latest.ckpt", "best.ckpt", "OCRNet_hrnet_tiny_4_rank0.ckpt", "OCRNet_hrnet_tiny_8_rank0.ckpt",
    }  # fmt: skip
    assert list(losses(folder)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (folder / "config.yml").exists() and any((folder / "tensorboard").iterdir())
    assert "on CPU" in done.stdout and re.search(r"step 8: .*mIoU .* on 5 images", done.stdout)
    assert "8/8" in done.stderr and re.search(r"loss \d\.\d+, lr 0\.\d+, [\d.]+ img/s", done.stderr)
    noise = r"WARNING|Exception ignored|Deprecat|Traceback"
    assert not re.search(noise, done.stdout + done.stderr), done.stderr


def parts(text: str) -> dict[str, float]:
    """Returns {part: milliseconds} of a profile."""
    return {name: float(spent) for name, spent in re.findall(r"^([a-z]+) +([\d.]+) +[\d.]+$", text, re.MULTILINE)}


def test_a_profile_says_where_the_time_of_a_step_goes(straight):
    """That it changes no result is asserted by the tests that compare this run with others, bit by bit."""
    text = (straight[0] / "profile" / "profile.txt").read_text()
    assert (
        text.startswith("steps 4 to 6, 4 images of 32 x 64, hrnet_tiny")
        and text.split("\n", 1)[1] in straight[1].stdout
    )
    spent = parts(text)
    whole = spent.pop("step")
    assert set(spent) == {"data", "forward", "backward", "update", "host"} and min(spent.values()) > 0
    assert sum(spent.values()) == pytest.approx(whole, abs=0.05)
    calls = {
        (name, part): int(count) for name, part, count in re.findall(r"^(\w+) +([a-z]+) +(\d+) ", text, re.MULTILINE)
    }
    # 64 layers; a layer with a kernel of 3 columns convolves two small maps before their resize, column by column
    assert calls["Conv2D", "forward"] == calls["Conv2DBackpropFilter", "backward"] == 64 + 2 * 3
    assert calls["Conv2DBackpropInput", "backward"] == 63 + 2 * 3  # none for the image
    trace = json.loads((straight[0] / "profile" / "trace.json").read_text())["traceEvents"]
    steps = [event for event in trace if event["name"].startswith("step ")]
    assert [event["name"] for event in steps] == ["step 4", "step 5", "step 6"]
    assert sum(event["dur"] for event in steps) / 3e3 == pytest.approx(whole, abs=0.01)
    assert sum(event["name"] == "Conv2D" for event in trace) == 3 * (64 + 2 * 3)


@pytest.mark.slow
def test_evaluating_batches_of_another_size_does_not_affect_training(train, straight, tmp_path):
    done = train(tmp_path, *STRAIGHT, "--set", "eval.batch_size=2")  # the fifth image is a batch of its own
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path) == losses(straight[0])
    scores = [re.search(r"step 8: .*(mIoU [\d.]+ %)", run)[1] for run in (done.stdout, straight[1].stdout)]
    assert scores[0] == scores[1]


def test_tensorboard_has_losses_rates_scores_and_images(straight):
    file = next((straight[0] / "tensorboard").iterdir())
    found: dict[str, list] = {}
    content = file.read_bytes()
    while content:  # a record: length (8 bytes), its checksum (4), an event, its checksum (4)
        length = int.from_bytes(content[:8], "little")
        event = event_pb2.Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]
        for value in event.summary.value:
            found.setdefault(value.tag, []).append(value)
    every_step = ("loss/total", "loss/main", "loss/auxiliary", "learning_rate", "loss_scale", "images_per_second")
    assert {tag: len(found[tag]) for tag in every_step} == dict.fromkeys(every_step, 8)
    assert 0 <= found["val/miou"][0].simple_value <= 1 and "val_iou/road" in found
    images = [values[0].image for tag, values in found.items() if tag.startswith("image_label_prediction/")]
    assert [(image.height, image.width) for image in images] == [(64, 3 * 128 + 2 * 4)] * 3


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_losses_and_bits(train, straight, tmp_path):
    folder, _ = straight
    done = train(
        tmp_path, "--resume_ckpt", folder / "checkpoint" / "OCRNet_hrnet_tiny_4_rank0.ckpt",
        *STRAIGHT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "after step 4" in done.stdout
    assert losses(tmp_path) == {step: line for step, line in losses(folder).items() if step > 4}
    first, second = (weights(run / "checkpoint" / "latest.ckpt") for run in (folder, tmp_path))
    assert first.keys() == second.keys() and {"moments.", "raw."} <= {name.partition(".")[0] + "." for name in first}
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)
    assert first["loss_scale.scale_value"] == 256 * 2 * 2
    assert '"samples": 32' in ms.load_checkpoint(str(folder / "checkpoint" / "latest.ckpt"))["ocrnet.progress"]


ADAMW = [
    *("--ms_mode", "1", "--lr", "1e-3", "--set", "optimizer.kind=adamw", "--set", "schedule.kind=cosine"),
    *("--set", "schedule.min_lr=0", "--set", "loss.label_smoothing=0.1", "--set", "optimizer.layer_decay=0.8"),
    *("--set", "optimizer.groups=[{name: classifier, lr_factor: 10}, {name: bn, decay_factor: 0}]"),
]


@pytest.mark.slow
def test_a_run_with_adamw_learns_and_resumes_bit_for_bit(train, straight, tmp_path):
    done = train(tmp_path / "whole", *ADAMW)
    assert done.returncode == 0, done.stderr
    table = re.findall(r"^learning rate x ([\d.]+), weight decay ([\d.]+): ", done.stdout, re.MULTILINE)
    assert ("10", "0.01") in table and ("0.8", "0") in table and ("0.32768", "0") in table
    logged = losses(tmp_path / "whole")
    rates = [float(re.search(r"lr: ([\d.]+)", logged[step])[1]) for step in (3, 6, 8)]  # after 2 steps of warm-up
    assert rates == pytest.approx([1e-3, 5e-4, 1e-3 * (1 + np.cos(5 / 6 * np.pi)) / 2], abs=1e-6)
    first, last = (float(re.match(r"loss: ([\d.]+)", logged[step])[1]) for step in (1, 8))
    assert last < first
    middle = tmp_path / "whole" / "checkpoint" / "OCRNet_hrnet_tiny_4_rank0.ckpt"
    done = train(tmp_path / "resumed", *ADAMW, "--resume_ckpt", middle)
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "resumed") == {step: line for step, line in logged.items() if step > 4}
    whole, resumed = (weights(tmp_path / run / "checkpoint" / "latest.ckpt") for run in ("whole", "resumed"))
    assert whole.keys() == resumed.keys() and whole["correction1"] == pytest.approx(1 - 0.9**8)
    for name, value in whole.items():
        np.testing.assert_array_equal(value, resumed[name], err_msg=name)
    of_sgd = straight[0] / "checkpoint" / "latest.ckpt"
    done = train(tmp_path / "refused", *ADAMW, "--resume_ckpt", of_sgd)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    text = "optimizer.kind: sgd in the checkpoint, adamw in the configuration; set optimizer.kind to sgd"
    assert text in done.stderr


@pytest.mark.slow
def test_pynative_mode_gives_the_same_losses(train, straight, tmp_path):
    flags = ["--ms_loss_scaler", "dynamic", "--set", "train.loss_scale.window=3", "--profile", "1"]
    done = train(tmp_path, "--ms_mode", "1", *flags)
    assert done.returncode == 0, done.stderr
    assert min(parts((tmp_path / "profile" / "profile.txt").read_text()).values()) > 0
    for step in (1, 2, 3):
        graph, pynative = (float(re.match(r"loss: ([\d.]+)", losses(run)[step])[1]) for run in (straight[0], tmp_path))
        assert pynative == pytest.approx(graph, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("amp", ["convolutions", "all"])
def test_mixed_precision_trains_within_rounding_of_float32(train, straight, tmp_path, amp):
    flags = ["--amp", amp, "--loss_scale", "static", "--loss_scale_value", "128"]
    done = train(tmp_path, *flags, "--total_step", "2")
    assert done.returncode == 0, done.stderr
    full, mixed = (float(re.match(r"loss: ([\d.]+)", losses(run)[1])[1]) for run in (straight[0], tmp_path))
    assert mixed == pytest.approx(full, rel=5e-3) and mixed != full


def test_evaluation_counts_every_pixel_once_and_writes_its_scores(run_script, straight, demo, tmp_path):
    folder, done = straight
    result, base = tmp_path / "result.json", ["--config", CONFIG_FILE, "--dataset_dir", demo, *TINY]
    evaluated = run_script(
        "eval.py", *base, "--checkpoint_path", folder / "checkpoint" / "best.ckpt", "--result_json", result,
        "--visualize", "True", "--save_dir", tmp_path, "--set", "eval.batch_size=2",
        "--set", "eval.visualized_images=3",
    )  # fmt: skip
    assert evaluated.returncode == 0, evaluated.stderr
    scores = json.loads(result.read_text())
    dataset = open_dataset(DataConfig(root=demo), "val")
    labels = np.concatenate([dataset.read(index)[1].ravel() for index in range(5)])
    assert scores["images"] == 5
    checkpoint = folder / "checkpoint" / "best.ckpt"
    assert scores["evaluated"] == {
        "checkpoint": str(checkpoint),
        "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "data_root": str(demo),
        "split": "val",
        "failed": [],
    }
    assert np.sum(scores["confusion_matrix"], axis=1).tolist() == np.bincount(labels, minlength=256)[:19].tolist()
    assert f"mIoU {100 * scores['miou']:.2f} %" in done.stdout  # the score that training saw
    assert f"{100 * scores['iou']['road']:.2f}" in evaluated.stdout
    assert len(list((tmp_path / "images").glob("*.png"))) == 3


def test_a_damaged_pair_is_skipped_in_evaluation(run_script, untrained, demo, tmp_path):
    data, result = tmp_path / "data", tmp_path / "result.json"
    shutil.copytree(demo, data)
    images = sorted((data / "leftImg8bit" / "val").rglob("*.png"))
    images[1].write_bytes(images[1].read_bytes()[:-20])
    base = ["--config", CONFIG_FILE, "--dataset_dir", data, *untrained.flags, "--ckpt_path", untrained.path]
    done = run_script("eval.py", *base, "--result_json", result, "--save_predictions", tmp_path / "png")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "1 of 5 pairs failed and are not in the results" in done.stderr
    assert str(images[1]) in done.stderr
    scores = json.loads(result.read_text())
    assert str(images[1]) in scores["evaluated"]["failed"][0]
    assert scores["images"] == 4 and len(list((tmp_path / "png").glob("*.png"))) == 4


def test_a_new_run_archives_an_earlier_one(train, straight, tmp_path):
    shutil.copytree(straight[0], tmp_path / "run")
    done = train(tmp_path / "run", "--total_step", "1", "--ms_mode", "1")
    assert done.returncode == 0 and "an earlier run was here" in done.stdout
    assert (tmp_path / "run" / "earlier.1" / "checkpoint" / "best.ckpt").exists()
    assert list(losses(tmp_path / "run")) == [1]
    assert not (tmp_path / "run" / "checkpoint" / "best.ckpt").exists()


@pytest.mark.slow
def test_resume_auto_resumes_or_starts_a_run(train, straight, tmp_path):
    shutil.copytree(straight[0], tmp_path / "run")
    flags = ["--resume_ckpt", "auto", "--ms_loss_scaler", "dynamic", "--ms_mode", "1"]
    assert "after step 8" in train(tmp_path / "run", *flags).stdout
    assert "starting from the beginning" in train(tmp_path / "new", *flags, "--total_step", "1").stdout
