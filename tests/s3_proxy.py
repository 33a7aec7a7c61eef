"""A proxy for the S3 server that injects network faults and counts the traffic."""

import contextlib
import http.client
import random
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit


@dataclass
class Faults:
    """Fault probabilities and traffic statistics. Sizes in bytes."""

    busy: float = 0.0
    """Fraction of requests answered with 503."""
    cut: float = 0.0
    """Fraction of requests whose connection closes during the request or the response."""
    delay: float = 0.0
    """Seconds before each response."""
    only: str = ""
    """Inject faults only in requests with this string in their path."""
    rate: float = 0.0
    """Bytes per second of each connection; 0: unlimited."""
    sent: int = 0
    received: int = 0
    requests: list[str] = field(default_factory=list)
    injected: int = 0


@contextlib.contextmanager
def proxy(endpoint: str, faults: Faults, certificate: Path | None = None) -> Iterator[str]:
    """Run a proxy for `endpoint`. Yields its endpoint; with a certificate (a PEM file with its key) it uses TLS."""
    rng = random.Random(0)
    server_name = urlsplit(endpoint).netloc

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            faults.requests.append(f"{self.command} {self.path}")
            time.sleep(faults.delay)
            luck = rng.random() if faults.only in self.path else 0.5
            if luck < faults.cut / 4:
                faults.injected += 1
                self.read(size // 2)
                self.connection.close()
                return
            body = self.read(size)
            if luck > 1 - faults.busy:
                faults.injected += 1
                self.answer(503, [], b"<Error><Code>SlowDown</Code><Message>Please wait</Message></Error>")
                return
            connection = http.client.HTTPConnection(server_name, timeout=60)
            connection.request(self.command, self.path, body or None, dict(self.headers))
            found = connection.getresponse()
            content = found.read()
            cut = faults.only in self.path and luck < faults.cut
            faults.injected += cut
            self.answer(found.status, found.getheaders(), content, len(content) // 2 if cut else None)
            connection.close()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do

        def read(self, size: int) -> bytes:
            blocks = []
            while size:
                blocks.append(self.rfile.read(min(size, 1 << 16)))
                size -= len(blocks[-1])
                faults.sent += len(blocks[-1])
                time.sleep(len(blocks[-1]) / faults.rate if faults.rate else 0)
                if not blocks[-1]:
                    raise ConnectionError
            return b"".join(blocks)

        def answer(self, status: int, headers: list, content: bytes, end: int | None = None) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                    self.send_header(name, value)
            length = dict(headers).get("Content-Length", len(content)) if self.command == "HEAD" else len(content)
            self.send_header("Content-Length", str(length))
            self.send_header("Connection", "close")
            self.end_headers()
            for start in range(0, len(content[:end]), 1 << 16):
                block = content[:end][start : start + (1 << 16)]
                self.wfile.write(block)
                faults.received += len(block)
                time.sleep(len(block) / faults.rate if faults.rate else 0)
            self.close_connection = True

        def handle(self) -> None:
            with contextlib.suppress(OSError):  # the peer has closed the connection
                super().handle()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http{'s' if certificate else ''}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
