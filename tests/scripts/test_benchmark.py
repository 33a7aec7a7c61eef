import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_two_versions_are_measured_in_turn(run_script, tmp_path):
    earlier = tmp_path / "earlier"
    for name in ("src", "scripts"):
        shutil.copytree(ROOT / name, earlier / name, ignore=shutil.ignore_patterns("__pycache__"))
    script = earlier / "scripts" / "benchmark.py"
    text = script.read_text()
    script.write_text(text.replace("SAMPLES = 32", "SAMPLES = 2"))
    assert script.read_text() != text
    flags = ["--work", "pipeline", "--repeats", "1", "--before", earlier, "--output", tmp_path / "result.json"]
    done = run_script("scripts/benchmark.py", *flags)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == ["ocrnet 1-worker", "ocrnet 2-workers", "before 1-worker", "before 2-workers"]
    for row in rows.values():
        assert len(row["seconds"]) == 1 and row["peak_memory_GB"] > 0
        assert row["ratio"] == pytest.approx(row["median_s"] / rows["before 1-worker"]["median_s"])
    assert rows["before 1-worker"]["max_s"] < rows["ocrnet 1-worker"]["min_s"] / 2  # a sixteenth of the samples
    assert len(result["product_s"]) == 4  # after each run
    assert [line.split()[:2] for line in done.stdout.splitlines()[-4:]] == [name.split() for name in rows]
