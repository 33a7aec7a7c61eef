#!/usr/bin/env bash
# Installs what the tests need and passes them. Arguments are handed to pytest, e.g. -m "not slow".
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh requirements-test.txt
ruff check .
ruff format --check .
python -m pytest "$@"
