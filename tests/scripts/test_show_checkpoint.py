import mindspore as ms
import numpy as np
import pytest

from ocrnet.config.loading import load_config
from ocrnet.models.ocrnet import OCRNet
from ocrnet.training.checkpoint import CheckpointFolder
from ocrnet.training.run_progress import Progress


@pytest.fixture
def show(run_script):
    """Returns {name: value} of the printed lines."""

    def run(*arguments) -> dict[str, str]:
        done = run_script("scripts/show_checkpoint.py", *arguments)
        assert done.returncode == 0 and not done.stderr, done.stderr
        names, values = zip(*(line.split(":", 1) for line in done.stdout.splitlines()), strict=True)
        return dict(zip(names, map(str.strip, values), strict=True))

    return run


def test_a_checkpoint_of_a_run_with_averaged_weights(show, untrained, tmp_path):
    config = untrained.config.replace({"save_dir": tmp_path, "train.ema": 0.999, "train.total_step": 70})
    folder, network = CheckpointFolder(config), OCRNet(config.model, 19)
    folder.open(None, {})
    progress = Progress(step=12, epoch=2, samples=96, best_score=0.4321, best_step=8)
    folder.save(network.parameters_dict(), progress, is_best=True)
    found = show(folder.best)
    parameters = sum(parameter.size for parameter in network.get_parameters())
    assert found["file"] == f"{folder.best}, {folder.best.stat().st_size / 1e6:.1f} MB"
    assert found["network"] == f"OCRNet hrnet_tiny, {parameters / 1e6:.2f} M parameters"
    assert found["training"] == f"70 steps, {config.train.batch_size} images per device and batch, seed {config.seed}"
    assert found["EMA"] == "decay 0.999; the network has the averaged weights"
    assert found["step"] == "12, epoch 2, 96 images seen"
    assert found["best score"] == "mIoU 43.21 % at step 8"
    assert found["classes"].startswith("19: road, sidewalk, ")
    assert found["versions"].startswith(f"mindspore {ms.__version__}, ")
    assert found["SHA-256"].endswith(" (of its content; verified)")


def test_its_configuration_makes_the_same_run(run_script, untrained, tmp_path):
    done = run_script("scripts/show_checkpoint.py", untrained.path, "--config", "True")
    assert done.returncode == 0, done.stderr
    (tmp_path / "shown.yml").write_text(done.stdout)
    assert load_config(tmp_path / "shown.yml") == untrained.config


def test_a_file_of_another_program(show, tmp_path):
    weights = [{"name": "conv.weight", "data": ms.Tensor(np.zeros((500, 20), np.float32))}]
    ms.save_checkpoint(weights, str(tmp_path / "other.ckpt"))
    found = show(tmp_path / "other.ckpt")
    assert found["network"] == "0.01 M parameters, no configuration: another program's"
    assert found["training state"] == "no, weights only" and found["SHA-256"] == "not stored"
