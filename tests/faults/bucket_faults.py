"""Transfers of 200 small files and one of 100 MB: killed, over a bad network, with a wrong key, onto a full disk.

    python tests/faults/bucket_faults.py --kills 10

A real S3 server runs on this machine, behind a proxy that counts bytes and fails as networks do. Each push and each
fetch is killed once with SIGKILL at a random moment and begun again; then both sides must be the same, no multipart
upload may be left, and the bytes that went twice are counted. Five minutes on two cores.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from s3_proxy import Faults, proxy
from s3_server import ENVIRONMENT, client, s3_server

CHILD = """
import sys
from pathlib import Path
from ocrnet.runtime import program
from ocrnet.cloud import bucket
verb, url, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
def main():
    if verb == "fetch":
        return bucket.download(url, folder)
    names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    bucket.upload(folder, names, url, outdated=lambda stored: stored - names)
sys.exit(program.run(main))
"""


def start(verb: str, url: str, folder: Path, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-c", CHILD, verb, url, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(verb: str, url: str, folder: Path, **environment: str) -> tuple[str, float]:
    """What it said at the end (on stdout, or why it failed), and its seconds."""
    began = time.monotonic()
    process = start(verb, url, folder, **environment)
    out, said = process.communicate(timeout=600)
    return out.strip() if process.returncode == 0 else said[said.rfind("error: ") :].strip(), time.monotonic() - began


def same(one: Path, other: Path) -> bool:
    return subprocess.run(["diff", "-r", str(one), str(other)], stdout=subprocess.DEVNULL).returncode == 0


def make(folder: Path) -> Path:
    rng = random.Random(1)
    for number in range(200):
        file = folder / f"{number % 9}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(rng.randbytes(rng.randrange(1, 40_000)))
    (folder / "large.bin").write_bytes(rng.randbytes(100 << 20))
    return folder


def syncs(source: Path, target: Path, faults: Faults) -> None:
    """First, second, one changed, one deleted."""
    url = "s3://bucket/plain"
    for title in ("first", "again", "one changed, one deleted"):
        if title[0] == "o":
            file = source / "3" / "3.png"
            file.write_bytes(file.read_bytes()[::-1])
            (source / "4" / "4.png").unlink()
            (target / "4" / "4.png").unlink()
        for verb, folder in (("push", source), ("fetch", target)):
            faults.sent = faults.received = 0
            said, seconds = run(verb, url, folder)
            traffic = f"{faults.sent / 1e6:.2f} MB up, {faults.received / 1e6:.2f} MB down"
            print(f"{title}: {said.partition(': ')[2]}; {seconds:.1f} s, {traffic}", flush=True)
    print(f"diff -r empty: {same(source, target)}", flush=True)


def kills(source: Path, folder: Path, faults: Faults, endpoint: str, count: int, seed: int) -> bool:
    size = sum(file.stat().st_size for file in source.rglob("*") if file.is_file())
    rng, good = random.Random(seed), True
    rates, whole = {"push": 4e6, "fetch": 20e6}, {}  # a push has eight connections
    for verb, where in (("push", source), ("fetch", folder / "timed")):
        faults.rate = rates[verb]
        whole[verb] = run(verb, "s3://bucket/timed", where)[1]
    for number in range(1, count + 1):
        url, target = f"s3://bucket/kill{number}", folder / f"kill{number}"
        twice, moments = [], []
        for verb, where in (("push", source), ("fetch", target)):
            faults.sent = faults.received = 0
            faults.rate = rates[verb]
            process = start(verb, url, where)
            moments.append(rng.uniform(0.3, 0.9 * whole[verb]))
            time.sleep(moments[-1])
            process.kill()
            process.communicate()
            if process.returncode != -9:
                print(f"{verb} had ended before the kill")
            run(verb, url, where)
            twice.append(((faults.sent if verb == "push" else faults.received) - size) / 1e6)
        left = len(client(endpoint).listMultipartUploads("bucket").body.upload)
        right = same(source, target) and not left
        good &= right
        print(
            f"{number}/{count}: push killed after {moments[0]:.2f} s, {twice[0]:.2f} MB sent again; fetch after "
            f"{moments[1]:.2f} s, {twice[1]:.2f} MB again; diff -r {'empty' if right else 'NOT EMPTY'}, {left} orphans",
            flush=True,
        )
        shutil.rmtree(target)
    faults.rate = 0
    return good


def weather(source: Path, folder: Path, faults: Faults) -> None:
    for title, busy, cut, delay in (
        ("10 % 503", 0.1, 0, 0),
        ("1 % cut", 0, 0.01, 0),
        ("200 ms delay", 0, 0, 0.2),
        ("all three", 0.1, 0.01, 0.2),
    ):
        faults.busy, faults.cut, faults.delay, faults.injected = busy, cut, delay, 0
        url, target = f"s3://bucket/{busy}-{cut}-{delay}", folder / "weather"
        lines = [run(verb, url, where) for verb, where in (("push", source), ("fetch", target))]
        seconds = " and ".join(f"{line[1]:.1f} s" for line in lines)
        print(f"{title}: {faults.injected} faults, push and fetch {seconds}, diff -r empty: {same(source, target)}")
        shutil.rmtree(target)
        faults.busy = faults.cut = faults.delay = 0


def mistakes(source: Path, folder: Path) -> None:
    url = "s3://bucket/plain"
    print("wrong secret:", run("fetch", url, folder / "none", OBS_SECRET_ACCESS_KEY="wrong")[0])
    print("no such bucket:", run("push", "s3://nobucket/a", source)[0])
    print("nothing listens:", run("fetch", url, folder / "none", OBS_ENDPOINT="http://127.0.0.1:9")[0])
    disk = folder / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", str(disk)], capture_output=True).returncode:
        print("full disk: no right to mount a small one")
        return
    try:
        (disk / "filler").write_bytes(bytes(60 << 20))
        print("no room:", run("fetch", url, disk / "data")[0])
        (disk / "filler").unlink()
        process = start("fetch", url, disk / "data")
        while not list(disk.glob("data/.fetching/*")):
            time.sleep(0.001)
        with (disk / "filler").open("wb") as file:  # fills up while it is fetched
            while shutil.disk_usage(disk).free > 4 << 20:
                file.write(bytes(1 << 20))
                file.flush()
        said = process.communicate()[1]
        print("filled meanwhile:", said[said.rfind("error: ") :].strip())
        (disk / "filler").unlink()
        print("then:", run("fetch", url, disk / "data")[0].partition(": ")[2], same(source, disk / "data"))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    faults = Faults()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with s3_server(folder / "s3") as endpoint, proxy(endpoint, faults) as address:
            os.environ.update(ENVIRONMENT, OBS_ENDPOINT=address)
            source = make(folder / "source")
            syncs(source, folder / "target", faults)
            good = kills(source, folder, faults, endpoint, args.kills, args.seed)
            weather(source, folder, faults)
            mistakes(source, folder)
    sys.exit(not good)


if __name__ == "__main__":
    main()
