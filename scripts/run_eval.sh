#!/usr/bin/env bash
# One process: bash scripts/run_eval.sh config/ocrnet/NAME.yml CHECKPOINT.ckpt [flags of eval.py]
set -euo pipefail
[ $# -ge 2 ] || { sed -n 2p "$0" >&2; exit 2; }
cd "$(dirname "$0")/.."
exec python eval.py --config "$1" --ckpt_path "$2" "${@:3}"
