import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import settings

from ocrnet.runtime import device

ROOT = Path(__file__).resolve().parent.parent

# A shell script that starts the tests in the background (`pytest &`) makes them and their children ignore SIGINT.
# With a handler here, child processes get the default handler, as in a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("tests", deadline=None)  # an example takes longer while other tests use the cores
settings.load_profile("tests")

SEVERAL_RANKS = "tests/distributed/"
LONG = (
    SEVERAL_RANKS,
    "tests/faults/test_faults.py",
    "tests/weights/test_published.py",
    "tests/training/test_train_and_eval.py",
    "tests/training/test_resuming.py",
    "tests/docs/test_shell_blocks.py",
    "tests/scripts/test_export.py",
    "tests/faults/test_preempted_job.py",
)
"""What takes a minute or more: several workers (`pytest -n 2`) start with it, to end at about the same time."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: next((n for n, name in enumerate(LONG) if item.nodeid.startswith(name)), len(LONG)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """A worker limits the instruction set itself: a limit that it inherits would look like the user's."""
    without_limit = ExitStack()
    without_limit.enter_context(device.without_isa_limit())
    config.add_cleanup(without_limit.close)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """A file's tests share trainings: one worker runs them all. Jobs of several ranks use all cores: one at a time."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduler(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return SEVERAL_RANKS if nodeid.startswith(SEVERAL_RANKS) else super()._split_scope(nodeid)

    config.option.loadscopereorder = False  # keep the order of `LONG`, which the number of tests does not give
    return Scheduler(config, log)


@pytest.fixture(scope="session", autouse=True)
def cpu() -> None:
    device.init("CPU", mode=1, seed=0)


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Path:
    """A small demo data set: 12 training and 5 validation images of 128 x 64."""
    folder = tmp_path_factory.mktemp("demo")
    script = ROOT / "scripts" / "make_demo_data.py"
    size = ["--train", "12", "--val", "5", "--width", "128", "--height", "64"]
    subprocess.run([sys.executable, script, "--output", folder, *size], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def run_script():
    """Returns a function that runs an entry script and returns the completed process with text output."""

    def run(script: str, *arguments: object) -> subprocess.CompletedProcess:
        command = [sys.executable, str(ROOT / script), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)

    return run


@pytest.fixture(scope="session")
def untrained(tmp_path_factory) -> SimpleNamespace:
    """`path` of a checkpoint with initial weights for a small network of the demo config, its `config` and `flags`."""
    import mindspore as ms

    from ocrnet.config.loading import load_config
    from ocrnet.models.ocrnet import OCRNet
    from ocrnet.training.checkpoint import CheckpointFolder
    from ocrnet.training.run_progress import Progress

    sizes = {"model.head_channels": 16, "model.key_channels": 8, "model.context_channels": 16}
    config = load_config(
        ROOT / "config" / "ocrnet" / "ocrnet_demo.yml", {key: (size, "") for key, size in sizes.items()}
    )
    config = config.replace({"save_dir": tmp_path_factory.mktemp("untrained")})
    folder = CheckpointFolder(config)
    folder.open(None, {})
    ms.set_seed(0)  # the same weights in whatever order the tests run
    folder.save(OCRNet(config.model, 19).parameters_dict(), Progress(step=1), is_best=True)
    flags = [word for key, size in sizes.items() for word in ("--set", f"{key}={size}")]
    return SimpleNamespace(path=folder.best, flags=flags, config=config)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium; skips the test where there is none."""
    pytest.importorskip("websocket")
    from browser import Browser, chromium

    if chromium() is None:
        pytest.skip("Chromium is not installed")
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory) -> Iterator[str]:
    """Endpoint of a real S3 server with a bucket named `bucket`."""
    from s3_server import s3_server

    with s3_server(tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint


@pytest.fixture
def server(endpoint, monkeypatch):
    """The SDK's client for the emptied bucket; sets the environment variables for endpoint and keys."""
    from s3_server import ENVIRONMENT, client

    for name, value in {**ENVIRONMENT, "OBS_ENDPOINT": endpoint}.items():
        monkeypatch.setenv(name, value)
    sdk = client(endpoint)
    for entry in sdk.listObjects("bucket").body.contents:
        sdk.deleteObject("bucket", entry.key)
    return sdk
