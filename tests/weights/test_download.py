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
    """A folder and the address under which a web server offers it."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None: ...

    offered = tmp_path / "offered"
    offered.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(offered))) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield offered, f"http://127.0.0.1:{web.server_port}/"
        web.shutdown()


def test_a_name_becomes_a_checked_file(server, tmp_path: Path, monkeypatch) -> None:
    offered, address = server
    content = bytes(range(256)) * 9000
    good = f"w-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    for name in (good, "w-00000000.pth"):
        (offered / name).write_bytes(content)
    monkeypatch.setattr(
        download, "URLS", {"good": address + good, "bad": f"{address}w-00000000.pth", "no": "file:///x"}
    )

    file = download.fetch("good", tmp_path / "here")
    assert file.name == good and file.read_bytes() == content
    (offered / good).unlink()
    assert download.fetch("good", tmp_path / "here") == file  # not fetched twice
    with pytest.raises(UserError, match="expected 00000000"):
        download.fetch("bad", tmp_path / "here")
    with pytest.raises(UserError, match=r"cannot download it .* give its path"):
        download.fetch("no", tmp_path / "here")
    assert [entry.name for entry in (tmp_path / "here").iterdir()] == [good]


def test_every_address_holds_a_checksum() -> None:
    assert all(re.search(r"/[a-z0-9_]+-[0-9a-f]{8}\.(pth|ckpt)$", url) for url in download.URLS.values())
