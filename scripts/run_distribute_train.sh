#!/usr/bin/env bash
# Several cards: bash scripts/run_distribute_train.sh CARDS config/ocrnet/NAME.yml [flags of train.py]
# Several machines: HOSTFILE=hosts bash scripts/run_distribute_train.sh 16 ..., `ADDRESS slots=8` a line, this one first
set -euo pipefail
[ $# -ge 2 ] || { sed -n 2,3p "$0" >&2; exit 2; }
cd "$(dirname "$0")/.."
# as root (a container) mpirun wants to be asked twice; 20 s to finish a step and save it when the job is stopped
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
