"""A web server for tests of downloads: serves bytes on 127.0.0.1, can cut connections, counts requests."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves `files` on 127.0.0.1; sends at most `cut` bytes of an answer, then closes the connection."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.version = "1"
        self.cut: int | None = None
        self.ranges = True
        self.requests: list[str] = []
        """The Range header of each request, or ""."""
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, request, client_address) -> None: ...


class Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        content = self.server.files.get(self.path.lstrip("/"))
        asked = self.headers.get("Range", "")
        self.server.requests.append(asked)
        if content is None:
            self.send_error(404)
            return
        start = 0
        if asked and self.server.ranges and self.headers.get("If-Range") == f'"{self.server.version}"':
            start = int(re.match(r"bytes=(\d+)-", asked)[1])
        self.send_response(206 if start else 200)
        if self.server.version:
            self.send_header("ETag", f'"{self.server.version}"')
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: self.server.cut])

    def log_message(self, *arguments: object) -> None: ...
