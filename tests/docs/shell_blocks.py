"""The shell blocks of the READMEs, CONTRIBUTING.md and docs/, and how they are run as they stand.

    python tests/docs/shell_blocks.py          # those of seconds, as CI does
    python tests/docs/shell_blocks.py --all    # those of minutes as well

A comment on the line before a block says how long it runs or why it is not run: `<!-- run: seconds -->`,
`<!-- run: minutes -->`, `<!-- not run: Ascend -->`. The blocks of a page run in their order in one fresh copy of the
clone, which holds a small data/demo and a checkpoint of a short training in runs/ocrnet_demo. A Chinese page whose
commands all stand in its English page is not run again.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("seconds", "minutes")
REASONS = ("Ascend", "GPU", "credentials", "hours", "cluster", "download", "installs", "server")
TIME_LIMITS = {"seconds": 600, "minutes": 3600}
"""Seconds after which a block counts as hanging; far above what it takes, for busy machines."""

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\s*$")
_COMMENT = re.compile(r"^ *<!-- (?:run: (?P<kind>\w+)|not run: (?P<reason>.+?)) -->\s*$")


@dataclass(frozen=True)
class Block:
    """A shell block of a page."""

    page: str
    """Path from the root of the clone."""
    line: int
    text: str
    kind: str
    """One of KINDS, or "" for a block that is not run."""
    reason: str
    """One of REASONS, or "" for a block that is run."""


class Unmarked(ValueError):
    """Blocks without a proper comment, one per line of the message."""


def pages(root: Path = ROOT) -> list[Path]:
    """The pages that users read, English before Chinese."""
    found = [*root.glob("README*.md"), root / "CONTRIBUTING.md", *(root / "docs").rglob("*.md")]
    return sorted(found, key=lambda page: (page.stem.removesuffix(".zh"), page.stem.endswith(".zh")))


def blocks_of(page: Path, root: Path = ROOT) -> list[Block]:
    """The shell blocks of a page, from top to bottom.

    Raises:
        Unmarked: blocks without a comment, or with one that is not known.
    """
    name, found, wrong = page.relative_to(root).as_posix(), [], []
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if not fence:
            number += 1
            continue
        start, indent = number, len(fence["indent"])
        number += 1
        while number < len(lines) and lines[number].strip() != "```":
            number += 1
        if fence["language"] in ("bash", "sh", "shell", "console"):
            text = "\n".join(line[indent:] for line in lines[start + 1 : number])
            comment = _COMMENT.match(lines[start - 1]) if start else None
            kind, reason = (comment["kind"] or "", comment["reason"] or "") if comment else ("", "")
            if fence["language"] == "bash" and (kind in KINDS or reason in REASONS):
                found.append(Block(name, start + 1, text, kind, reason))
            else:
                wrong.append(f"{name}:{start + 1}: {text.splitlines()[0] if text else 'an empty block'}")
        number += 1
    if wrong:
        raise Unmarked(
            "write <!-- run: seconds -->, <!-- run: minutes --> or <!-- not run: REASON --> on the line before each "
            f"```bash block; REASON is one of {', '.join(REASONS)}\n" + "\n".join(wrong)
        )
    return found


def to_run(page: Path, kinds: tuple[str, ...], root: Path = ROOT) -> list[Block]:
    """The blocks of a page that run; none for a translation with the same commands as the original."""
    blocks = [block for block in blocks_of(page, root) if block.kind in kinds]
    original = page.with_name(page.name.replace(".zh.md", ".md").replace("README_CN.md", "README.md"))
    if original != page and original.is_file():
        texts = {block.text for block in blocks_of(original, root)}
        if all(block.text in texts for block in blocks):
            return []
    return blocks


def environment() -> dict[str, str]:
    """With this Python as `python`, and its programs, first in the PATH."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def prepare(folder: Path) -> Path:
    """A copy of the clone's files in `folder`, with a small demo data set and the checkpoint of a short training."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout.split(b"\0")
    for name in map(os.fsdecode, filter(None, names)):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    size = ["--train", "12", "--val", "4", "--width", "512", "--height", "256"]
    short = ["--total_step", "2", "--set", "schedule.warmup_steps=1", "--set", "data.crop_size=[64,128]"]
    short += ["--ms_mode", "1"]  # graph mode would take longer to compile than to train
    for command in (
        ["scripts/make_demo_data.py", "--output", "data/demo", *size],
        ["train.py", "--config", "config/ocrnet/ocrnet_demo.yml", *short],
    ):
        done = subprocess.run([sys.executable, *command], cwd=folder, env=environment(), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return folder


def run(block: Block, clone: Path) -> str:
    """Run a block in a copy of the clone; what went wrong, or ""."""
    command, place = ["bash", "-euo", "pipefail", "-c", block.text], f"{block.page}:{block.line}"
    process = subprocess.Popen(
        command,
        cwd=clone,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that all that the block has started can be ended
    )
    try:
        output, _ = process.communicate(timeout=TIME_LIMITS[block.kind])
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            return f"{place}: still running after {TIME_LIMITS[block.kind]} s\n{block.text}"
        raise
    return f"{place}: exit status {process.returncode}\n{block.text}\n{output[-6000:]}" if process.returncode else ""


def run_page(page: Path, prepared: Path, kinds: tuple[str, ...], quiet: bool = True) -> list[str]:
    """Run the blocks of a page in a copy of `prepared`; what went wrong. After a failure the rest is left out."""
    blocks = to_run(page, kinds)
    if not blocks:
        return []
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        shutil.copytree(prepared, clone)
        for block in blocks:
            started = time.monotonic()
            problem = run(block, clone)
            if not quiet:
                print(f"{time.monotonic() - started:6.1f} s  {block.page}:{block.line}", flush=True)
            if problem:
                return [problem]
    return []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="run the blocks of minutes as well")
    parser.add_argument("--page", action="append", type=Path, help="only this page; several times for more")
    args = parser.parse_args()
    kinds = KINDS if args.all else KINDS[:1]
    problems, wanted = [], {page.resolve() for page in args.page or ()}
    chosen = [page for page in pages() if not wanted or page in wanted]
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(Path(folder))
        for page in chosen:
            problems += run_page(page, prepared, kinds, quiet=False)
    blocks = [block for page in chosen for block in blocks_of(page)]
    ran = sum(len(to_run(page, kinds)) for page in chosen)
    left_out = Counter(block.reason for block in blocks if block.reason)
    same = sum(block.kind in kinds for block in blocks) - ran
    print("\n\n".join(["", *problems]))
    print(f"{ran} blocks to run on {len(chosen)} pages, {len(problems)} failed, {same} the same in a translation")
    print(f"not run: {', '.join(f'{count} {reason}' for reason, count in sorted(left_out.items())) or 'none'}")
    if not args.all:
        print(f"not run without --all: {sum(block.kind == 'minutes' for block in blocks)}")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
