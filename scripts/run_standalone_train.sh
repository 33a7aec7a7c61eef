#!/usr/bin/env bash
# One process: bash scripts/run_standalone_train.sh config/ocrnet/NAME.yml [flags of train.py]
set -euo pipefail
[ $# -ge 1 ] || { sed -n 2p "$0" >&2; exit 2; }
cd "$(dirname "$0")/.."
exec python train.py --config "$@"
