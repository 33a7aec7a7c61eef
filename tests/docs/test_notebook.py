"""The notebook runs from its first to its last cell, with a short schedule."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "quick_start.ipynb"


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("NOTEBOOK_WORK", str(tmp_path))
    monkeypatch.setenv("NOTEBOOK_STEPS", "2")
    monkeypatch.setenv("NOTEBOOK_SCENES", "6")
    # without compilation, which would take longer than the steps
    monkeypatch.setenv("NOTEBOOK_FLAGS", "--ms_mode 1 --batch_size 2 --set data.crop_size=[64,128] --set eval.images=1")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": NOTEBOOK.parent}}).execute()
    text = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    fractions = re.findall(r"^\w[\w ]*: ([\d.]+)%$", text, re.MULTILINE)  # of the classes of an untrained network
    assert 1 <= len(fractions) <= 5 and sum(map(float, fractions)) <= 100.5
    assert "classifier" in text  # those of other classes start fresh, and a line says so
    assert 0 <= float(re.search(r"mIoU of 3 classes: ([\d.]+) %", text)[1]) <= 100
    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in data for data in shown) == 2  # two overlays


def test_the_notebook_is_committed_without_outputs():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
