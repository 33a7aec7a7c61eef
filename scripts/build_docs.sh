#!/usr/bin/env bash
# Builds the documentation site in build/site, English and Chinese; warnings are errors. Arguments go to mkdocs.
# Needs requirements.txt and requirements-docs.txt; nothing is downloaded.
set -euo pipefail
cd "$(dirname "$0")/.."
export NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true
python -m mkdocs build --strict "$@"
