"""The types of what `import ocrnet` offers, checked by pyright as [tool.pyright] says."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_public_interface_has_no_type_errors():
    command = [sys.executable, "-m", "pyright", "--project", ROOT, "--pythonpath", sys.executable]
    environment = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}  # does not ask PyPI for a newer pyright
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 errors, 0 warnings" in done.stdout
