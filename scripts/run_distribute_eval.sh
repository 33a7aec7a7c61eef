#!/usr/bin/env bash
# Several devices: bash scripts/run_distribute_eval.sh DEVICES config/ocrnet/NAME.yml CHECKPOINT.ckpt [flags of eval.py]
set -euo pipefail
[ $# -ge 3 ] || { sed -n 2p "$0" >&2; exit 2; }
ENTRY=eval.py exec bash "$(dirname "$0")/run_distribute_train.sh" "$1" "$2" --ckpt_path "$3" "${@:4}"
