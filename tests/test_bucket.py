"""Transfers against a real S3 server (SeaweedFS), which checks signatures and MD5s."""

import filecmp
import os
import random
from pathlib import Path

import pytest

pytest.importorskip("obs", reason="needs the extra obs")
from ocrnet import bucket
from ocrnet.errors import UserError
from s3_server import ENVIRONMENT, client, s3_server


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint


@pytest.fixture
def server(endpoint, monkeypatch):
    """The SDK's client; the environment has endpoint and keys."""
    for name, value in {**ENVIRONMENT, "OBS_ENDPOINT": endpoint}.items():
        monkeypatch.setenv(name, value)
    return client(endpoint)


def make_files(folder: Path, small: int = 200, large: int = 100 << 20) -> Path:
    """`small` files of 0 to 40 kB in folders, and a large one."""
    rng = random.Random(0)
    for number in range(small):
        file = folder / f"part {number % 7}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(rng.randbytes(rng.randrange(40_000) if number else 0))
    (folder / "large.bin").write_bytes(os.urandom(large))
    return folder


def names(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def different(one: Path, other: Path) -> set[str]:
    """Files that are not the same on both sides."""
    same, _, _ = filecmp.cmpfiles(one, other, names(one) & names(other), shallow=False)
    return (names(one) | names(other)) - set(same)


def unfinished(server) -> list:
    return server.listMultipartUploads("bucket").body.upload


def test_push_and_fetch_send_what_is_new_and_only_that(server, tmp_path, capsys):
    source, target, url = make_files(tmp_path / "source"), tmp_path / "target", "s3://bucket/a/set"

    def push() -> str:
        bucket.push(source, names(source), url, outdated=lambda stored: stored - names(source))
        return capsys.readouterr().out

    def fetch() -> str:
        bucket.fetch(url, target)
        return capsys.readouterr().out

    assert "201 of 201 files sent" in push()
    assert "201 of 201 files fetched" in fetch() and not different(source, target)
    assert "0 of 201 files sent (0.0 MB)" in push() and "0 of 201 files fetched (0.0 MB)" in fetch()
    assert list(target.rglob(".*")) == [] and not unfinished(server)

    file = source / "part 3" / "3.png"
    content = bytearray(file.read_bytes())
    content[7] ^= 1  # the same size
    file.write_bytes(content)
    (source / "part 4" / "4.png").unlink()
    (target / "part 5" / "5.png").unlink()
    assert "1 of 200 files sent" in push() and "2 of 200 files fetched" in fetch()
    assert different(source, target) == {"part 4/4.png"}  # fetching removes nothing from this disk


def test_a_prefix_is_a_folder_and_one_object_can_be_named(server, tmp_path):
    for key in ("set/a.txt", "set/b/c.txt", "settings/d.txt", "set.txt"):
        server.putContent("bucket", key, key)
    server.putContent("bucket", "set/b/", "")  # a folder, as consoles make it
    bucket.fetch("obs://bucket/set", tmp_path / "set")
    assert names(tmp_path / "set") == {"a.txt", "b/c.txt"}
    bucket.fetch("obs://bucket/set/b/c.txt", tmp_path / "one")
    assert (tmp_path / "one" / "c.txt").read_text() == "set/b/c.txt"
    with pytest.raises(UserError, match="obs://bucket/nowhere: nothing is there"):
        bucket.fetch("obs://bucket/nowhere", tmp_path / "none")
