"""Downloads: verified, resumed after a cut connection, begun again if the file on the server has changed."""

import hashlib
import re
from pathlib import Path

import pytest

from file_server import FileServer
from ocrnet.zoo.download import DownloadError, download
from ocrnet.zoo.published import backbones

CONTENT = bytes(range(256)) * 9000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    with FileServer() as server:
        server.files["w.pth"] = CONTENT
        yield server
        server.shutdown()


def test_a_file_is_downloaded_and_verified(server, tmp_path: Path) -> None:
    download(server.address("w.pth"), tmp_path / "sub" / "w.pth", SHA256[:8])
    assert (tmp_path / "sub" / "w.pth").read_bytes() == CONTENT
    assert [file.name for file in (tmp_path / "sub").iterdir()] == ["w.pth"]


def test_a_wrong_checksum_leaves_nothing(server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=f"SHA-256 starts with {SHA256[:8]}, the published one with 00000000"):
        download(server.address("w.pth"), tmp_path / "w.pth", "00000000")
    assert list(tmp_path.iterdir()) == []


def test_cut_connections_are_resumed_within_a_call(server, tmp_path: Path) -> None:
    server.cut = 15 << 16
    download(server.address("w.pth"), tmp_path / "w.pth", SHA256)
    assert (tmp_path / "w.pth").read_bytes() == CONTENT
    assert server.requests == ["", "bytes=983040-", "bytes=1966080-"]


def test_an_interrupted_download_is_resumed_by_the_next_call(server, tmp_path: Path) -> None:
    (tmp_path / "w.pth.part").write_bytes(CONTENT[:2_000_000])
    (tmp_path / "w.pth.part.version").write_text('"1"')
    download(server.address("w.pth"), tmp_path / "w.pth", SHA256)
    assert server.requests == ["bytes=2000000-"]
    assert [file.name for file in tmp_path.iterdir()] == ["w.pth"]


@pytest.mark.parametrize("change", ["another version", "no ranges", "unknown version"])
def test_bytes_of_another_version_are_not_used(server, tmp_path: Path, change: str) -> None:
    (tmp_path / "w.pth.part").write_bytes(b"x" * 2_000_000)
    if change != "unknown version":
        (tmp_path / "w.pth.part.version").write_text('"0"' if change == "another version" else '"1"')
    server.ranges = change != "no ranges"
    download(server.address("w.pth"), tmp_path / "w.pth", SHA256)
    assert (tmp_path / "w.pth").read_bytes() == CONTENT


def test_a_server_that_is_gone_or_has_no_file_is_an_error_and_keeps_what_came(server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="the server answers 404"):
        download(server.address("other.pth"), tmp_path / "other.pth")
    (tmp_path / "w.pth.part").write_bytes(CONTENT[:5])
    (tmp_path / "w.pth.part.version").write_text('"1"')
    with pytest.raises(DownloadError, match="refused"):
        download("http://127.0.0.1:9/w.pth", tmp_path / "w.pth")
    assert (tmp_path / "w.pth.part").read_bytes() == CONTENT[:5]
    server.cut = 0
    with pytest.raises(DownloadError, match=r"ended after 0 of|IncompleteRead"):
        download(server.address("w.pth"), tmp_path / "new.pth")


@pytest.mark.parametrize("reason", ["no ranges", "no version"])
def test_a_server_that_cuts_and_cannot_resume_ends_with_an_error(server, tmp_path: Path, reason: str) -> None:
    server.cut = 15 << 16
    server.ranges = reason != "no ranges"
    server.version = "" if reason == "no version" else "1"
    with pytest.raises(DownloadError, match="ends after 983040 bytes each time"):
        download(server.address("w.pth"), tmp_path / "w.pth", SHA256)


def test_every_backbone_has_a_checksum_in_its_address() -> None:
    assert all(re.fullmatch("[0-9a-f]{8}", file.sha256) for file in backbones().values())
