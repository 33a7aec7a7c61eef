#!/usr/bin/env bash
# Installs the test requirements and runs all checks. Arguments are passed to pytest, e.g. -m "not slow".
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh requirements-test.txt
ruff check .
ruff format --check .
python -m pytest "$@"
