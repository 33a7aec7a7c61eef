"""Uses a network by its name from an installed package, as a stranger would, and prints what happens.

    python tests/zoo/fetch_by_name.py --environment DIR     # a virtual environment with the wheel and nothing else

A server on 127.0.0.1 has weights made from known tensors under the published name. The cases: three lines of Python
with an empty cache, the command `ocrnet` with the filled one, a file with another content, cut connections, two
processes at once, no server, a cache that cannot be written, a damaged cache.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "src")]

import numpy as np
from PIL import Image
from safetensors.numpy import save

from file_server import FileServer
from ocrnet.zoo.published import find_model
from peers import DATA, Golden

NAME = "ocrnet_hrnet_w18_small_cityscapes_ssseg_440e"  # without a published checksum
VERIFIED = "ocrnet_hrnet_w18_small_cityscapes_mmseg_40k"
LINES = f"""
import ocrnet
model = ocrnet.load("{NAME}")
result = model.predict("street.png")
result.overlay().save("overlay.png"); result.save("out/")
print(result, result.probabilities.shape)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environment", type=Path, required=True, metavar="DIR")
    binaries = parser.parse_args().environment / "bin"
    python, command = [str(binaries / "python"), "-c", LINES], [str(binaries / "ocrnet")]
    folder = Path(tempfile.mkdtemp())
    pixels = np.random.default_rng(0).integers(0, 256, (360, 480, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "street.png")

    with FileServer() as server:
        server.files[find_model(NAME).file.file_name] = save(Golden(DATA / "golden_ssseg_w18s.npz").tensors())
        server.files[find_model(VERIFIED).file.file_name] = b"not the published bytes"
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {"OCRNET_CACHE": str(folder / "cache"), "OCRNET_WEIGHTS_URL": server.address("")}

        def show(title: str, words: list[str], count: int = 1, **changes: str) -> None:
            server.requests.clear()
            start = time.perf_counter()
            running = [
                subprocess.Popen(
                    words, cwd=folder, env=environment | changes, text=True,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                )
                for _ in range(count)
            ]  # fmt: skip
            texts = [process.communicate() for process in running]
            seconds = time.perf_counter() - start
            codes = [process.returncode for process in running]
            print(f"\n== {title}: status {codes}, {seconds:.1f} s, requests {server.requests}")
            for out, err in texts:
                lines = [line.rsplit("\r", 1)[-1] for line in (out + err).splitlines()]
                print("\n".join(f"   {line}" for line in lines if line.strip()))

        predict = [*command, "predict", "street.png", "--output", "out2"]
        show("three lines of Python, empty cache", python)
        show("the same again", python)
        show("ocrnet predict --model NAME", [*predict, "--model", NAME])
        same = (folder / "out/raw/street.png").read_bytes() == (folder / "out2/raw/street.png").read_bytes()
        print(f"   the same class indices as from Python: {same}")
        show("ocrnet models", [*command, "models", "*w18_small_cityscapes*"])
        show("another content than the published one", [*predict, "--model", VERIFIED])
        server.cut = 10 << 20
        show("connections cut after 10 MiB", python, OCRNET_CACHE=str(folder / "cut"))
        server.cut = None
        show("two processes at once", python, 2, OCRNET_CACHE=str(folder / "two"))
        gone = {"OCRNET_CACHE": str(folder / "none"), "OCRNET_WEIGHTS_URL": "http://127.0.0.1:9"}
        show("no server", [*predict, "--model", NAME], **gone)
        show("no server, filled cache", [*predict, "--model", NAME], OCRNET_WEIGHTS_URL="http://127.0.0.1:9")
        (folder / "file").touch()
        show("a cache that cannot be written", [*predict, "--model", NAME], OCRNET_CACHE=str(folder / "file" / "sub"))
        with (folder / "cache" / f"{NAME}.ckpt").open("r+b") as file:
            file.seek(5_000_000)
            byte = file.read(1)
            file.seek(5_000_000)
            file.write(bytes([byte[0] ^ 1]))
        show("a flipped byte in the cache", [*predict, "--model", NAME])
        server.shutdown()


if __name__ == "__main__":
    main()
