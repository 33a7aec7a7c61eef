"""The web server of the demo page. It answers only this computer, stores nothing, and segments one image at a time."""

import asyncio
import errno
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
from urllib3 import encode_multipart_formdata

from ocrnet.data.images import ImageFile, read_label
from ocrnet.demo.outlines import geojson
from ocrnet.errors import UserError
from ocrnet.inference.model import Model
from ocrnet.runtime import program
from ocrnet.visualization import encode

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.datastructures import Headers, MutableHeaders
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
except ImportError:
    raise UserError("starlette and uvicorn are not installed: in the clone, pip install '.[demo]'") from None

ADDRESS = "127.0.0.1"
HOSTS = (ADDRESS, "localhost")
MAX_UPLOAD = 50 * 2**20
"""Maximum size of an uploaded file in bytes."""
PAGE = Path(__file__).with_name("page")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class OwnPageOnly:
    """Refuses requests from other web pages with status 403, and adds HEADERS to every answer.

    Host differs where another site's name was pointed at this computer (DNS rebinding); Origin differs where another
    site's page sends the request. A forwarded port may have another number.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        own = host.partition(":")[0] in HOSTS and headers.get("origin", f"http://{host}") == f"http://{host}"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        app = self.app if own else PlainTextResponse(f"refused: open the page as http://{ADDRESS}:PORT", 403)
        await app(scope, receive, send_with_headers)


class DemoServer:
    """Answers the requests of the page.

    Args:
        model: the network.
        title: what the page calls it.
        example: an image (H, W, 3) uint8 RGB that the page offers, or None.
    """

    def __init__(self, model: Model, title: str, example: np.ndarray | None = None) -> None:
        self.model, self.title, self.example = model, title, example
        self.worker = ThreadPoolExecutor(1)  # MindSpore computes in one thread, one image after the other
        self.app = Starlette(
            routes=[
                Route("/network", self._network),
                Route("/example.png", self._example),
                Route("/segment", self._segment, methods=["POST"]),
                Route("/polygons", self._polygons, methods=["POST"]),
                Mount("/", StaticFiles(directory=PAGE, html=True)),
            ],
            middleware=[Middleware(OwnPageOnly)],
            exception_handlers={UserError: _bad_request, ClientDisconnect: _bad_request},
        )

    def run(self, listener: socket.socket) -> None:
        """Answers requests until the program ends; see `listen`."""
        config = uvicorn.Config(
            self.app, log_config=None, access_log=False, server_header=False, lifespan="off", ws="none",
            proxy_headers=False,
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[listener])

    async def _network(self, request: Request) -> Response:
        colours = ["#" + bytes(colour).hex() for colour in self.model.palette]
        return JSONResponse(
            {
                "title": self.title,
                "names": self.model.names,
                "colours": colours,
                "max_upload": MAX_UPLOAD,
                "example": self.example is not None,
            }
        )

    async def _example(self, request: Request) -> Response:
        if self.example is None:
            raise HTTPException(404)
        return Response(encode(self.example, ".png"), media_type="image/png")

    async def _segment(self, request: Request) -> Response:
        """Segments the image file that is the body. The query's `name` is its name for messages.

        The answer is form data: `image`, the image as the network sees it (PNG); `mask`, class indices (PNG with the
        palette); `classes`, the same as H x W bytes; `about`, JSON with `width`, `height` and `seconds`.
        """
        name = Path(Path(request.query_params.get("name", "")).name or "image")
        return await self._work(segment, self.model, name, await _body(request))

    async def _polygons(self, request: Request) -> Response:
        """Returns the outlines of the mask that is the body, a file as `_segment` returns it, as GeoJSON."""
        return await self._work(outline, self.model, await _body(request))

    async def _work(self, function, *arguments: object) -> Response:
        return await asyncio.get_running_loop().run_in_executor(self.worker, function, *arguments)


def segment(model: Model, path: Path, data: bytes) -> Response:
    """Segments an image file; see `DemoServer`. Raises UserError if it cannot be read or does not fit into memory."""
    started = time.perf_counter()
    file = ImageFile(path, data)
    height, width = file.shape[:2]
    model.predictor.check_memory(path, (height, width))
    try:
        result = model.predict(file[:, :])
        mask = BytesIO()
        result.mask().save(mask, "PNG")
        image = encode(result.image, ".png")
    except (MemoryError, RuntimeError) as error:
        if not (reason := program.out_of_memory(error)):
            raise
        raise UserError(f"{path}: out of memory ({reason}): start again with --set eval.window=[512,1024]") from None
    about = {"width": width, "height": height, "seconds": time.perf_counter() - started}
    body, kind = encode_multipart_formdata(
        {
            "about": json.dumps(about),
            "image": ("image.png", image, "image/png"),
            "mask": ("mask.png", mask.getvalue(), "image/png"),
            "classes": ("classes", result.classes.tobytes(), "application/octet-stream"),
        }
    )
    return Response(body, media_type=kind)


def outline(model: Model, data: bytes) -> Response:
    """Outlines a mask; see `DemoServer`. Raises UserError if it is not one of the network's classes."""
    classes = read_label(Path("mask.png"), data)
    if classes.max() >= len(model.names):
        raise UserError(f"mask.png: class {classes.max()}: the network has {len(model.names)} classes")
    text = json.dumps(geojson(classes, model.names, model.palette), ensure_ascii=False, separators=(",", ":"))
    return Response(text, media_type="application/geo+json")


async def _body(request: Request) -> bytes:
    """Returns the body of a request. Raises HTTPException 413 if it is larger than MAX_UPLOAD."""
    too_large = HTTPException(413, f"the file is larger than {MAX_UPLOAD // 2**20} MB")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > MAX_UPLOAD:
        raise too_large
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_UPLOAD:
            raise too_large
    return bytes(data)


async def _bad_request(request: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), 400)


def listen(port: int) -> socket.socket:
    """Returns a socket that listens on this computer's own address. Port 0: a free one is chosen.

    Raises:
        UserError: the port is in use, or not allowed.
    """
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was in use a moment ago
        listener.bind((ADDRESS, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        used = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "it is in use" if used else str(getattr(error, "strerror", error))
        raise UserError(f"--port {port}: {reason}; choose another one, or 0 for a free one") from None
    return listener
