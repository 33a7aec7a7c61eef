"""The memory of an evaluation does not grow with the number of images."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from ocrnet.config.loading import load_config
from ocrnet.data.splits import open_dataset
from ocrnet.models.ocrnet import OCRNet
from ocrnet.weights.ckpt import save_weights

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 1000


def megabytes(process: int) -> float:
    """Returns the resident memory of a process."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096 / 1e6


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_memory_is_constant_over_1000_images(demo, tmp_path):
    scenes = load_config(ROOT / "config/ocrnet/ocrnet_demo.yml", {"data.root": (str(demo), "test")})
    pairs = open_dataset(scenes.data, "val").pairs
    lines = [f"{pair[0].relative_to(demo)} {pair[1].relative_to(demo)}\n" for pair in pairs]
    (demo / "many.lst").write_text("".join(lines[n % len(lines)] for n in range(IMAGES)))
    config_file = tmp_path / "many.yml"
    config_file.write_text(
        f"__BASE__: {ROOT / 'config/ocrnet/ocrnet_demo.yml'}\n"
        f"data: {{format: list, root: {demo}, val: many.lst, classes: {[*scenes.data.classes]},\n"
        f"       label_map: {dict(scenes.data.label_map)}}}\n"
    )
    config = load_config(config_file)
    network = OCRNet(config.model, len(config.data.classes))
    weights = {name: value.asnumpy() for name, value in network.parameters_dict().items()}
    save_weights(tmp_path / "fresh.ckpt", weights, config)

    command = [
        sys.executable,
        str(ROOT / "eval.py"),
        "--config",
        str(config_file),
        "--ckpt_path",
        tmp_path / "fresh.ckpt",
    ]
    output = tmp_path / "output.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=ROOT)
        curve = []
        while process.poll() is None:
            curve.append(megabytes(process.pid))
            time.sleep(0.1)
    assert process.returncode == 0 and f"({IMAGES} images)" in output.read_text(), output.read_text()
    top = curve[: -len(curve) // 20]  # without the shutdown
    quarters = [max(top[len(top) * n // 4 : len(top) * (n + 1) // 4]) for n in range(4)]
    print(f"peak resident memory in MB, by quarters of the time: {[round(value) for value in quarters]}")
    assert quarters[3] < quarters[1] * 1.02
