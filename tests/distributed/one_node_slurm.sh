#!/usr/bin/env bash
# Starts a one-node Slurm for one command: bash tests/distributed/one_node_slurm.sh srun -n 2 python train.py ...
# Needs root and Debian's slurmctld, slurmd and munge. Its daemons use their own folder and ports, listen on loopback
# and end with the command.
set -euo pipefail
folder=$(mktemp -d)
chmod 755 "$folder"
mkdir -m 755 "$folder/munge" "$folder/state" "$folder/spool"
read -r controller node < <(python3 -c 'import socket
sockets = [socket.socket() for _ in range(2)]
for one in sockets: one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in sockets))')
stop() {
    # each step has a process with a socket here, which must deregister from slurmd first
    for _ in $(seq 50); do
        if ! compgen -G "$folder/spool/localhost_*" > /dev/null; then break; fi
        sleep 0.1
    done
    pids=$(cat "$folder"/{slurmd,slurmctld,munged}.pid 2> /dev/null) || true
    kill $pids 2> /dev/null || true
    for _ in $(seq 50); do
        if ! kill -0 $pids 2> /dev/null; then break; fi
        sleep 0.1
    done
    rm -rf "$folder"
}
trap stop EXIT
head -c 128 /dev/urandom > "$folder/munge/key"
chmod 600 "$folder/munge/key"
munged --force --socket="$folder/munge/socket" --key-file="$folder/munge/key" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
cat > "$folder/slurm.conf" <<CONF
ClusterName=one$controller
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
AuthInfo=socket=$folder/munge/socket
SlurmctldPort=$controller
SlurmdPort=$node
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
NodeName=localhost NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES State=UP
CONF
touch "$folder/cgroup.conf"
export SLURM_CONF=$folder/slurm.conf
slurmctld
slurmd -N localhost 2> /dev/null
for _ in $(seq 100); do
    if sinfo --noheader --states=idle 2> /dev/null | grep -q localhost; then
        "$@"
        exit
    fi
    sleep 0.2
done
tail "$folder"/slurm*.log >&2
exit 1
