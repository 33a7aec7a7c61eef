"""Creates damaged, hostile and intact files of all input formats of the programs."""

import base64
import io
import json
import os
import pickle
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.io import savemat

MARK = "STARTED"
"""A file of this name in the working directory shows that code from a hostile file was executed."""

Files = Iterator[tuple[str, bytes]]
"""Suffix and content of each file."""


def pixels(number: int, height: int = 32, width: int = 64) -> np.ndarray:
    coarse = np.random.default_rng(number).integers(0, 256, (4, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def encoded(image: np.ndarray | Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, format, **options)
    return file.getvalue()


def video(folder: Path, suffix: str, frames: int = 8) -> bytes:
    path = folder / f"made{suffix}"
    codec = cv2.VideoWriter.fourcc(*("mp4v" if suffix == ".mp4" else "MJPG"))
    writer = cv2.VideoWriter(str(path), codec, 10, (64, 32))
    for number in range(frames):
        writer.write(pixels(number))
    writer.release()
    content = path.read_bytes()
    path.unlink()
    return content


def intact_images(folder: Path) -> dict[str, bytes]:
    animation = [Image.fromarray(pixels(number)) for number in range(4)]
    moving = dict(save_all=True, append_images=animation[1:], duration=100)
    return {
        ".png": encoded(pixels(0), "PNG"),
        ".jpg": encoded(pixels(1), "JPEG"),
        ".tif": encoded(pixels(2), "TIFF", compression="tiff_lzw"),
        ".bmp": encoded(pixels(3), "BMP"),
        ".webp": encoded(pixels(4), "WEBP"),
        ".ppm": encoded(pixels(5), "PPM"),
        ".gif": encoded(animation[0], "GIF", **moving),
        ".mp4": video(folder, ".mp4"),
        ".avi": video(folder, ".avi"),
    }


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, data: bytes = b"", bits: int = 8, colour: int = 2, between: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + between + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """Returns `count` zero bytes compressed with zlib, without holding them in memory."""
    packer, packed = zlib.compressobj(9), []
    for start in range(0, count, 2**24):
        packed.append(packer.compress(bytes(min(2**24, count - start))))
    return b"".join([*packed, packer.flush()])


def damaged(intact: dict[str, bytes], rng: np.random.Generator) -> Files:
    """Yields damaged files endlessly: truncated anywhere, or up to 20 bits flipped."""
    while True:
        for suffix, content in intact.items():
            yield suffix, content[: rng.integers(0, len(content))]
            changed = bytearray(content)
            for place in rng.integers(0, len(content) if rng.random() < 0.5 else 200, rng.integers(1, 20)):
                changed[place % len(content)] ^= 1 << rng.integers(0, 8)
            yield suffix, bytes(changed)


def other_formats() -> Files:
    """Files of other formats with image suffixes; some refer to a program or another file."""
    postscript = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 32\n({MARK}) (w) file closefile\nshowpage\n%%EOF\n"
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    xpm = '/* XPM */\nstatic char *a[] = {"64 32 1 1", "a c #000000", ' + ", ".join(['"' + "a" * 64 + '"'] * 32) + "};"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(10**7))
    contents = {
        "eps": postscript.encode(),
        "ps": postscript.replace(" EPSF-3.0", "").encode(),
        "pdf": b"%PDF-1.4\n1 0 obj<</OpenAction<</S/Launch/F(sh)>>>>endobj\n",
        "svg": svg.encode(),
        "xpm": xpm.encode(),
        "html": b"<html><script>alert(1)</script></html>",
        "zip": packed.getvalue(),
        "mvg": f"push graphic-context\nimage over 0,0 0,0 '|touch {MARK}'\n".encode(),
        "elf": b"\x7fELF" + bytes(200),
        "jp2": encoded(pixels(0), "JPEG2000"),
        "ico": encoded(pixels(0), "ICO"),
        "tga": encoded(pixels(0), "TGA"),
        "pcx": encoded(pixels(0), "PCX"),
        "text": b"I am no image",
        "empty": b"",
        "nulls": bytes(1000),
    }
    for content in contents.values():
        for suffix in (".png", ".jpg", ".tif", ".gif"):
            yield suffix, content


def claims() -> Files:
    """Headers that do not match the content, and invalid metadata."""
    for side in (0, 30_000, 100_000, 2**31 - 1):
        yield ".png", png(side, side, zeros(1000))
    yield ".png", png(13_000, 13_000, zeros(1000))
    yield ".png", png(64, 32, zeros(1000))
    yield ".png", png(64, 32, zeros(10**8))  # more data than the header claims
    yield ".png", png(64, 32, zeros(7000), between=chunk(b"tEXt", b"a\0b") * 300_000)
    yield ".png", png(64, 32, zeros(7000), between=chunk(b"zTXt", b"a\0\0" + zeros(10**9)))
    yield ".png", png(64, 32, zeros(7000), between=chunk(b"iCCP", b"a\0\0" + zeros(10**9)))
    yield ".png", png(64, 32, zeros(7000), colour=3)  # a missing palette
    gif = bytearray(encoded(pixels(0), "GIF"))
    gif[6:10] = b"\xff" * 4
    yield ".gif", bytes(gif)
    bmp = bytearray(encoded(pixels(0), "BMP"))
    for width, height in ((30_000, 30_000), (13_000, 13_000), (64, -(2**31)), (2**31 - 1, 1)):
        bmp[18:26] = struct.pack("<ii", width, height)
        yield ".bmp", bytes(bmp)
    yield ".ppm", b"P6 30000 30000 255\n"
    yield ".ppm", b"P6 13000 13000 255\n" + bytes(100)
    yield ".ppm", b"P6 64 32 99999999999999999999\n" + bytes(6144)
    jpg = bytearray(encoded(pixels(0), "JPEG"))
    frame = jpg.index(b"\xff\xc0")
    for sides in (b"\xff\xff\xff\xff", b"\x32\xc8\x32\xc8", b"\0\0\0\0"):
        jpg[frame + 5 : frame + 9] = sides
        yield ".jpg", bytes(jpg)
    for tag, value in ((256, 30_000), (256, 13_000), (257, 2**31), (258, 64), (259, 7), (262, 99), (277, 60_000)):
        tiff = bytearray(encoded(pixels(0), "TIFF"))
        (place,) = struct.unpack_from("<I", tiff, 4)
        for entry in range(place + 2, len(tiff) - 12, 12):
            if struct.unpack_from("<H", tiff, entry)[0] == tag:
                struct.pack_into("<HII", tiff, entry + 2, 4, 1, value)
                break
        yield ".tif", bytes(tiff)
    looped = bytearray(encoded(pixels(0), "TIFF"))
    (place,) = struct.unpack_from("<I", looped, 4)
    (entries,) = struct.unpack_from("<H", looped, place)
    struct.pack_into("<I", looped, place + 2 + 12 * entries, place)  # the next image of the file is the same one
    yield ".tif", bytes(looped)
    for exif in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + os.urandom(500)):
        yield ".jpg", encoded(pixels(0), "JPEG", exif=exif)
        yield ".webp", encoded(pixels(0), "WEBP", exif=exif)


def bombs() -> Files:
    """Decompression bombs: small, valid files of 13,000 x 13,000 pixels."""
    side = 13_000
    for bits, colour, channels in ((8, 0, 1), (8, 2, 3), (8, 3, 1), (8, 6, 4), (16, 2, 3), (16, 6, 4), (1, 0, 1)):
        palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
        yield ".png", png(side, side, zeros(side * (1 + -(-side * channels * bits // 8))), bits, colour, palette)
    flat = Image.new("L", (side, side))
    for suffix, format, options in (
        (".jpg", "JPEG", {}),
        (".jpg", "JPEG", {"progressive": True}),
        (".gif", "GIF", {}),
        (".webp", "WEBP", {"method": 0}),
        (".tif", "TIFF", {"compression": "tiff_adobe_deflate"}),
        (".tif", "TIFF", {"compression": "tiff_adobe_deflate", "tiffinfo": {278: side}}),  # one strip
    ):
        yield suffix, encoded(flat, format, **options)


def videos(folder: Path, port: int) -> Files:
    """Playlists with video suffixes that refer to other files and to a server, and videos with invalid sizes."""
    address, secret = f"http://127.0.0.1:{port}/a.ts", folder / "secret.mp4"
    secret.write_bytes(video(folder, ".mp4"))
    for target in (
        address,
        f"file://{secret}",
        str(secret),
        f"concat:{secret}|{secret}",
        f"subfile,,start,0,end,9,,:{secret}",
    ):
        for suffix in (".mp4", ".avi", ".mkv"):
            yield suffix, f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{target}\n#EXT-X-ENDLIST\n".encode()
            yield suffix, f"ffconcat version 1.0\nfile '{target}'\n".encode()
    yield ".mp4", f'<?xml version="1.0"?><MPD><BaseURL>{address}</BaseURL></MPD>'.encode()
    yield ".mp4", f"v=0\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n".encode()
    content = video(folder, ".avi")
    for place in (32, 64, 168):  # sizes of the main header and of the stream's
        changed = bytearray(content)
        struct.pack_into("<II", changed, place, 30_000, 30_000)
        yield ".avi", bytes(changed)


def matlab() -> Files:
    """Label matrices: decompression bombs, wrong headers, other versions, and damaged ones."""
    file = io.BytesIO()
    savemat(file, {"S": np.zeros((9000, 9000))}, do_compression=True)
    yield ".mat", file.getvalue()
    for values in ({"other": 1.0}, {"S": "text"}, {"S": np.zeros((2, 2, 2))}, {"S": np.full((32, 64), np.nan)}):
        file = io.BytesIO()
        savemat(file, values)
        yield ".mat", file.getvalue()
    file = io.BytesIO()
    savemat(file, {"GTcls": {"Segmentation": np.zeros((32, 64), np.uint8)}}, do_compression=False)
    intact = file.getvalue()
    shape = intact.index(struct.pack("<ii", 32, 64))
    yield ".mat", intact[:shape] + struct.pack("<ii", 2**31 - 1, 2**31 - 1) + intact[shape + 8 :]
    file = io.BytesIO()
    savemat(file, {"S": np.zeros((32, 64))}, format="4")
    yield ".mat", file.getvalue()
    yield ".mat", b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + b"\x89HDF\r\n\x1a\n" + bytes(500)
    yield ".mat", intact[:128] + struct.pack("<II", 15, 0) * 100_000
    for _, content in zip(range(20), damaged({".mat": intact}, np.random.default_rng(0)), strict=False):
        yield content


def labels() -> Files:
    yield ".png", encoded(np.full((32, 64), 300, np.uint16), "PNG")
    yield ".png", encoded(pixels(0), "PNG")
    yield ".png", encoded(np.full((32, 64), 200, np.uint8), "PNG")
    yield ".jpg", encoded(np.zeros((32, 64), np.uint8), "JPEG")
    for value in (np.nan, np.inf, -1, 1e30, 0.5):
        yield ".tif", encoded(np.full((32, 64), value, np.float32), "TIFF")


SQUARE = [[5, 5], [25, 5], [25, 20], [5, 20]]


def labelme(**changes) -> dict:
    shape = {"label": "a", "points": SQUARE, "shape_type": "polygon", **changes.pop("shape", {})}
    return {"shapes": [shape], "imagePath": "good.png", "imageHeight": 32, "imageWidth": 64, **changes}


def annotations() -> Files:
    far, huge = [[1e308, -1e308], [1e308, 1e308], [-1e308, 0]], png(13_000, 13_000, zeros(13_001 * 13_000), 8, 0)
    mask = {"shape_type": "mask", "points": [[0, 0], [9, 9]]}
    eps = next(content for _, content in other_formats())
    trees: list = [
        labelme(shape={"points": [[float("nan"), 1], [2, 3], [4, 5]]}),
        labelme(shape={"points": [[float("inf"), 1], [2, 3], [4, 5]]}),
        labelme(shape={"points": [[10**400, 1], [2, 3], [4, 5]]}),
        labelme(shape={"points": "points"}),
        labelme(shape={"points": [[1]]}),
        labelme(shape={**mask, "mask": base64.b64encode(eps).decode()}),
        labelme(shape={**mask, "mask": base64.b64encode(png(30_000, 30_000)).decode()}),
        labelme(shape={**mask, "mask": "&&&&"}),
        labelme(shape={**mask, "mask": 5}),
        labelme(imageHeight=10**9, imageWidth=10**9),
        labelme(imageHeight=-5),
        labelme(imageHeight=2.5),
        labelme(imageHeight="32"),
        labelme(imageHeight=None, imagePath="../../../etc/passwd"),
        labelme(imageHeight=None, imagePath="a\0b.png"),
        labelme(imageHeight=None, imagePath="pipe.png"),
        {"shapes": 5},
        {"objects": {}, "imgWidth": 64, "imgHeight": 32},
        {"a": {"filename": "../../x.png", "regions": []}},
        {"a": {"filename": "/etc/passwd", "regions": []}},
        {
            "a": {
                "filename": "good.png",
                "regions": [{"shape_attributes": {"name": "circle"}, "region_attributes": {"l": 1}}],
            }
        },
        *(
            {
                "images": [{"id": 1, "file_name": name, "width": 64, "height": 32}],
                "categories": [{"id": 1, "name": "a"}],
                "annotations": [{"image_id": 1, "category_id": 1, "segmentation": {"size": size, "counts": counts}}],
            }
            for name, size, counts in (
                ("../out.png", [32, 64], [0, 2048]),
                ("/tmp/out.png", [32, 64], [0, 2048]),
                ("rle1.png", [32, 64], "o" * 3_000_000),
                ("rle2.png", [2**20, 2**20], [0, 2**40]),
                ("rle3.png", [32, 64], [-5, 2053]),
                ("rle4.png", [32, 64], "\u00e9"),
                ("rle5.png", [32, 64], {"a": 1}),
                ("x" * 300 + ".png", [32, 64], [0, 2048]),
            )
        ),
        [{"data": {}, "annotations": [{"result": []}]}],
        [{"data": {"image": "../../etc/passwd"}, "annotations": [{"result": []}]}],
        [{"data": 5, "annotations": 5}],
        {"objects": [], "size": {"width": 10**9, "height": 10**9}},
        {"objects": [{"classTitle": "a", "geometryType": "polygon", "points": 5}], "size": {"width": 64, "height": 32}},
        {"project": {}, "view": 5, "metadata": {}},
        {"project": {}, "view": {"1": {"fid_list": [1]}}, "file": {"1": {"fname": "/etc/passwd"}}, "metadata": {}},
        [],
        5,
        None,
        {"items": [{}], "categories": {}},
    ]
    for tree in trees:
        yield ".json", json.dumps(tree).encode()
    sized = labelme(shape={**mask, "mask": base64.b64encode(huge).decode()}, imageHeight=13_000, imageWidth=13_000)
    for tree in (labelme(shape={"points": far}), sized):  # what can be drawn
        yield ".json", json.dumps(tree).encode()
    for content in (
        b"",
        b"[" * 10**6,
        b'{"a":' * 10**6,
        b"\xff\xfe\0",
        b"1" * 10**6,
        b"{}",
        b'{"shapes": [' + b"[]," * 10**6,
    ):
        yield ".json", content


def weights() -> Files:
    """Checkpoints that try to execute code or exhaust the memory."""

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {MARK}",)

    def archive(pickled: bytes, compression: int = zipfile.ZIP_STORED, **entries: bytes) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", compression) as packed:
            packed.writestr("a/data.pkl", pickled)
            for name, content in entries.items():
                packed.writestr(f"a/data/{name}", content)
        return file.getvalue()

    yield ".pth", archive(pickle.dumps({"state_dict": Evil()}))
    yield ".pth", pickle.dumps(Evil())
    yield ".pth", archive(pickle.dumps({"a": 1}), zipfile.ZIP_DEFLATED, x=bytes(10**8))
    yield ".pth", archive(shared_storage(3000), x=bytes(2**22))
    yield ".pth", archive(b"\x80\x02]" + b"]" * 10**6 + b".")
    yield ".pth", archive(b"\x80\x04\x8e" + struct.pack("<Q", 2**40))
    yield ".pth", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
    yield ".pth", archive(b"\x80\x02]r\xff\xff\xff\x7f.")  # a table of 2**32 objects
    yield ".pdparams", b"\x80\x02}" + b"]r\xff\xff\xff\x7f."
    yield ".pdparams", pickle.dumps({"weight": Evil()})
    for length in (2**62, 2**31, 10):
        yield ".safetensors", struct.pack("<Q", length) + b'{"a": 1}'
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 4]}}).encode()
    yield ".safetensors", struct.pack("<Q", len(header)) + header + bytes(4)
    yield ".safetensors", struct.pack("<Q", 10**6) + b"[" * 10**6
    yield ".ckpt", b"\x0a\xff\xff\xff\xff\x0f"
    yield ".ckpt", os.urandom(10_000)
    yield ".ckpt", b""


def shared_storage(count: int) -> bytes:
    """Returns a pickle of `count` tensors of a million numbers that share one storage: 12 GB from 4 MB."""
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0xX\x03\0\0\0cpuJ" + struct.pack("<i", 2**20) + b"tQ"
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0J" + struct.pack("<i", 2**20) + b"\x85K\x01\x85\x89}tR"
    )
    body = b"".join(b"X\x05\0\0\0%05d" % number + tensor for number in range(count))
    return b"\x80\x02}(" + body + b"u."


def odd_entries(folder: Path) -> list[Path]:
    """What is no regular file, under the names of images and films. Reading some of them would never end."""
    targets = {
        "itself": "itself.png",
        "nowhere": "nowhere",
        "zero": "/dev/zero",
        "stdin": "/dev/stdin",
        "random": "/dev/urandom",
    }
    made = []
    for name, target in targets.items():
        for suffix in (".png", ".mp4", ".json", ".mat"):
            (folder / f"{name}{suffix}").symlink_to(target if name != "itself" else f"{name}{suffix}")
            made.append(folder / f"{name}{suffix}")
    for suffix in (".png", ".mp4", ".gif", ".json", ".mat"):
        os.mkfifo(folder / f"pipe{suffix}")
        made.append(folder / f"pipe{suffix}")
    sparse = folder / "sparse.png"
    with sparse.open("wb") as file:
        file.truncate(2**36)
    os.mknod(folder / "socket.png", 0o600 | stat.S_IFSOCK)
    return [*made, sparse, folder / "socket.png"]


def strange_names() -> list[bytes]:
    """Returns unusual file names for intact images."""
    words = [
        "测试".encode("gbk"),
        b"new\nline",
        b"$(touch " + MARK.encode() + b")",
        b"%s%n",
        b"-rf",
        b"a'b\"c",
        b"e\xcc\x81",
    ]
    return [word + b".png" for word in [*words, b"x" * 240]]
