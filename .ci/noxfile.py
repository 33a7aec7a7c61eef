"""Checks before a release, in environments of their own: `pip install nox uv`, then `nox -f .ci/noxfile.py -s SESSION`.

matrix: a part of the tests with every supported MindSpore and Python; package: wheel, sdist and SBOM in dist/;
lock: the files in locks/; release: package, and all tests with the newest and the oldest MindSpore. The file is here
and not in the root, because the wheel takes the Python files of the root.
"""

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12")
VERSIONS = ("2.7.2", "2.8.0", "2.9.0", "2.10.0")
MATRIX_TESTS = [
    *(f"tests/{name}" for name in ("models", "runtime", "inference", "weights", "evaluation")),
    *(f"tests/training/test_{name}.py" for name in ("step", "step_runner", "losses", "optimizer", "parameter_groups")),
    *(f"tests/training/test_{name}.py" for name in ("ema", "checkpoint", "pretrained", "train_and_eval")),
    "tests/config/test_user_errors.py",
    "tests/scripts/test_check_device.py",
]
"""What touches MindSpore; the rest of the tests reads configs, images and pages."""
TWO_RANKS = (
    "tests/distributed/test_several_ranks.py"
    "::test_two_ranks_train_like_one_process_with_twice_the_batch_and_resume_with_one"
)

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["package"]


def install(session: nox.Session, mindspore: str) -> None:
    session.chdir(ROOT)
    session.install("pip", "-r", "requirements-test.txt", f"mindspore=={mindspore}")  # uv's environments have no pip


def run_tests(session: nox.Session, *tests: str) -> None:
    session.run("python", "-m", "pytest", "-p", "no:cacheprovider", *tests, *session.posargs)


@nox.session
@nox.parametrize(("python", "mindspore"), [(python, version) for version in VERSIONS for python in PYTHONS])
def matrix(session: nox.Session, mindspore: str) -> None:
    """A part of the tests with every MindSpore and Python, and a training of two ranks."""
    install(session, mindspore)
    run_tests(session, "-m", "not slow", *MATRIX_TESTS)
    run_tests(session, TWO_RANKS)


@nox.session
@nox.parametrize(("python", "mindspore"), [(PYTHONS[0], VERSIONS[0]), (PYTHONS[-1], VERSIONS[-1])])
def release(session: nox.Session, mindspore: str) -> None:
    """Package, then all tests with the oldest and the newest MindSpore, on the oldest and the newest Python."""
    session.notify("package")
    install(session, mindspore)
    run_tests(session)


@nox.session
def package(session: nox.Session) -> None:
    """Builds wheel and sdist twice, compares and checks them, and writes the SBOM of an installation of the wheel."""
    session.chdir(ROOT)
    session.install("build", "twine", "check-wheel-contents", "cyclonedx-bom", "virtualenv")
    epoch = session.run("git", "log", "-1", "--format=%ct", external=True, silent=True).strip()
    hashes = []
    for folder in (ROOT / "dist", Path(session.create_tmp()) / "again"):
        for old in folder.glob("ocrnet_mindspore-*"):
            old.unlink()
        session.run("python", "-m", "build", "--outdir", str(folder), env={"SOURCE_DATE_EPOCH": epoch})
        make_reproducible(next(folder.glob("*.tar.gz")), int(epoch))
        hashes.append({file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())})
    for name in hashes[1]:
        session.log(f"{name}: {hashes[0][name]} and {hashes[1][name]}")
        if hashes[0][name] != hashes[1][name]:
            session.error(f"{name}: two builds of one commit differ")
    wheel, sdist = (str(next((ROOT / "dist").glob(pattern))) for pattern in ("*.whl", "*.tar.gz"))
    session.run("twine", "check", "--strict", wheel, sdist)
    session.run("check-wheel-contents", wheel)
    environment = Path(session.create_tmp()) / "installed"
    session.run("python", "-m", "virtualenv", "--quiet", str(environment))
    session.run(str(environment / "bin" / "pip"), "install", "--quiet", wheel, external=True)
    sbom = ["--output-reproducible", "--output-file", "dist/sbom.cdx.json", str(environment / "bin" / "python")]
    session.run("cyclonedx-py", "environment", *sbom)


def make_reproducible(sdist: Path, epoch: int) -> None:
    """Rewrites an sdist: setuptools ignores SOURCE_DATE_EPOCH there, and stores owners and times of the files."""
    with tarfile.open(sdist) as archive:
        members = [(member, archive.extractfile(member)) for member in archive.getmembers()]
        members = sorted(((member, file.read() if file else b"") for member, file in members), key=lambda m: m[0].name)
    with (
        sdist.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=epoch) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for member, content in members:
            clean = tarfile.TarInfo(member.name)
            clean.type, clean.size, clean.mtime = member.type, len(content), epoch
            clean.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            archive.addfile(clean, io.BytesIO(content))


@nox.session
def lock(session: nox.Session) -> None:
    """Writes locks/: exact versions with hashes, for all supported Pythons."""
    session.chdir(ROOT)
    session.install("uv")
    for requirements, locked in (("requirements.txt", "demo"), ("requirements-test.txt", "tests")):
        command = [
            "uv",
            "pip",
            "compile",
            "--quiet",
            "--universal",
            "--python-version",
            PYTHONS[0],
            "--generate-hashes",
        ]
        command += ["--custom-compile-command", "nox -f .ci/noxfile.py -s lock", "--output-file", f"locks/{locked}.txt"]
        session.run(*command, requirements)
