"""Commands and config files of mindspore-lab's OCRNet have the same effect here."""

from pathlib import Path

from ocrnet.config.loading import load_config

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
__BASE__: {base}
seed: 3
ms_mode: 1
device_target: CPU
mix: False
batch_size: 4
total_step: 1
run_eval: False
num_workers: 1
max_rowsize: 32
enable_modelarts: True
data_url: "{data}"
train_url: "{output}"
model: {{head_channels: 16, key_channels: 8, context_channels: 16}}
data: {{crop_size: [32, 64]}}
schedule: {{warmup_steps: 0}}
"""


def test_a_config_file_can_contain_all_flags_of_a_platform_job(run_script, demo, tmp_path):
    base = ROOT / "config" / "ocrnet" / "ocrnet_demo.yaml"  # the file's suffix is .yml
    output = tmp_path / "try #2"
    (tmp_path / "job.yml").write_text(CONFIG.format(base=base, data=demo, output=output))
    done = run_script("train.py", "--config", tmp_path / "job.yaml", "--init_method", "tcp://127.0.0.1:1")
    assert done.returncode == 0, done.stderr
    assert "ignored flags of the platform: --init_method tcp://127.0.0.1:1" in done.stdout
    notes = [line.split(": no effect")[0] for line in done.stderr.splitlines() if line.startswith("note: ")]
    config_file = base.with_suffix(".yml")  # its keys for evaluation and warm-up, which are off in this job
    assert notes == [
        f"note: max_rowsize ({tmp_path / 'job.yml'})",
        f"note: eval.interval ({config_file})",
        f"note: schedule.warmup_lr ({config_file})",
    ]
    config = load_config(output / "config.yml")
    assert (config.data.root, config.data.workers, config.train.batch_size, config.seed) == (demo, 1, 4, 3)
    assert config.train.total_step == 1 and (output / "checkpoint" / "latest.ckpt").is_file()


def test_flags_of_mindspore_lab(run_script):
    flags = ["--device_target", "CPU", "--dataset_dir", "007", "--save_dir", "2024-05-01", "--mix", "True"]
    flags += ["--num_workers", "4", "--prefetch_size", "8", "--max_rowsize", "64", "--print_config", "True"]
    done = run_script("train.py", "--config", "config/ocrnet/config_ocrnet_hrw32_16k.yaml", *flags)
    assert done.returncode == 0, done.stderr
    assert "save_dir: '2024-05-01'" in done.stdout and "root: '007'" in done.stdout
    assert "workers: 4" in done.stdout and "prefetch_size: 8" in done.stdout
