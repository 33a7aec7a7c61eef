#!/usr/bin/env bash
# One job over two «machines»: network namespaces with an address and a host name each, joined by a cable of their own.
# As root, with Open MPI 4 and iproute2: bash tests/distributed/two_machines.sh COMMAND..., for example
#   bash tests/distributed/two_machines.sh python train.py --config config/ocrnet/ocrnet_demo.yml --total_step 10
set -euo pipefail
scratch=$(mktemp -d)
trap 'ip netns del ocrnet-a; ip netns del ocrnet-b; rm -r "$scratch"' EXIT
ip netns add ocrnet-a
ip netns add ocrnet-b
ip link add cable netns ocrnet-a type veth peer name cable netns ocrnet-b
for side in a b; do
    number=$([ $side = a ] && echo 1 || echo 2)
    ip -n ocrnet-$side addr add 10.77.0.$number/24 dev cable
    ip -n ocrnet-$side link set cable up
    ip -n ocrnet-$side link set lo up
done
printf '10.77.0.1 slots=1\n10.77.0.2 slots=1\n' > "$scratch/hosts"
# what ssh does between real machines
cat > "$scratch/agent" <<'AGENT'
#!/bin/sh
shift
exec ip netns exec ocrnet-b unshare --uts sh -c "hostname machine-b; $*"
AGENT
chmod +x "$scratch/agent"
ip netns exec ocrnet-a unshare --uts sh -c 'hostname machine-a; exec "$@"' sh \
    mpirun --allow-run-as-root --hostfile "$scratch/hosts" --mca plm_rsh_agent "$scratch/agent" \
    --mca oob_tcp_if_include cable -x PATH -n 2 "$@"
