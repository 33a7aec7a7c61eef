import hashlib
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ocrnet.errors import UserError
from ocrnet.weights import download


@pytest.fixture
def server(tmp_path: Path):
    """Starts a web server; yields its folder and its address."""

    class QuietHandler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None: ...

    served = tmp_path / "served"
    served.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(served))) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield served, f"http://127.0.0.1:{web.server_port}/"
        web.shutdown()


def test_downloaded_files_are_verified(server, tmp_path: Path, monkeypatch) -> None:
    served, address = server
    content = bytes(range(256)) * 9000
    good = f"w-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    for name in (good, "w-00000000.pth"):
        (served / name).write_bytes(content)
    monkeypatch.setattr(
        download, "URLS", {"good": address + good, "bad": f"{address}w-00000000.pth", "no": "file:///x"}
    )

    file = download.fetch("good", tmp_path / "here")
    assert file.name == good and file.read_bytes() == content
    (served / good).unlink()
    assert download.fetch("good", tmp_path / "here") == file  # not downloaded again
    with pytest.raises(UserError, match="expected 00000000"):
        download.fetch("bad", tmp_path / "here")
    with pytest.raises(UserError, match=r"cannot download it .* give its path"):
        download.fetch("no", tmp_path / "here")
    assert [entry.name for entry in (tmp_path / "here").iterdir()] == [good]


def test_every_url_contains_a_checksum() -> None:
    assert all(re.search(r"/[a-z0-9_]+-[0-9a-f]{8}\.(pth|ckpt)$", url) for url in download.URLS.values())
