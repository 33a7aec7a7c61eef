#!/usr/bin/env bash
# Several devices: bash scripts/run_distribute_train.sh DEVICES config/ocrnet/NAME.yml [flags of train.py]
# Several nodes: HOSTFILE=hosts bash scripts/run_distribute_train.sh 16 ..., `ADDRESS slots=8` per line, this node first
set -euo pipefail
[ $# -ge 2 ] || { sed -n 2,3p "$0" >&2; exit 2; }
cd "$(dirname "$0")/.."
# as root (in a container), mpirun needs an option; a stopped job has 20 s to finish its step and save a checkpoint
options=(--allow-run-as-root)
hosts=(--hostfile "${HOSTFILE:-}" -x PATH)
case $(mpirun --version) in
*'(Open MPI) 4.'*) options+=(--quiet --mca odls_base_sigkill_timeout 20) ;;
*'(Open MPI) 5.'*) options+=(--prtemca odls_base_sigkill_timeout 20) ;;
*'(Open MPI)'*) ;;
*) options=() hosts=(-f "${HOSTFILE:-}") ;; # MPICH, Intel MPI
esac
if [ -n "${HOSTFILE:-}" ]; then options+=("${hosts[@]}"); fi
exec mpirun "${options[@]}" -n "$1" "${PYTHON:-python}" "${ENTRY:-train.py}" --config "$2" "${@:3}"
