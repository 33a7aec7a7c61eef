#!/usr/bin/env bash
# Installs the test requirements and runs all checks. Arguments are passed to pytest, e.g. -m "not slow".
# Two workers: most tests wait for one process at a time, which does not use two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh requirements-test.txt
ruff check .
ruff format --check .
python -m pytest -n 2 "$@"
