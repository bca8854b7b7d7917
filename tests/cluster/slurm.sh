#!/usr/bin/env bash
# A Slurm of its own in a folder of its own: start it, stop it. Sourced by the tests of this folder.
# munge, slurmctld and two slurmd (n1, n2) run on this machine as the user who starts them.
# Needs Debian's packages munge, slurmctld, slurmd, slurm-client.

start_slurm() { # FOLDER
    SLURM=$1
    export SLURM_CONF=$SLURM/slurm.conf
    mkdir -p "$SLURM"/{state,n1,n2,munge}
    chmod 700 "$SLURM/munge"
    head -c 1024 /dev/urandom >"$SLURM/munge/key"
    chmod 600 "$SLURM/munge/key"
    local base=$((20000 + $$ % 20000)) host user
    host=$(hostname -s)
    user=$(id -un)
    cat >"$SLURM_CONF" <<END
ClusterName=bedtime
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$base
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$SLURM/munge/socket,cred_expire=5
StateSaveLocation=$SLURM/state
SlurmdSpoolDir=$SLURM/%n
SlurmctldPidFile=$SLURM/slurmctld.pid
SlurmdPidFile=$SLURM/%n.pid
SlurmctldLogFile=$SLURM/slurmctld.log
SlurmdLogFile=$SLURM/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0
SlurmdTimeout=10
MessageTimeout=5
KillWait=3
ReturnToService=2
MinJobAge=3600
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((base + 1)) CPUs=2 State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((base + 2)) CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
    # Nothing is put into cgroups, but slurmd wants to know them.
    local version=v1
    [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] && version=v2
    echo "CgroupPlugin=cgroup/$version" >"$SLURM/cgroup.conf"
    munged --force --foreground --key-file="$SLURM/munge/key" --socket="$SLURM/munge/socket" \
        --pid-file="$SLURM/munge/pid" --log-file="$SLURM/munge/log" --seed-file="$SLURM/munge/seed" \
        >"$SLURM/munge/out" 2>&1 &
    MUNGED=$!
    wait_for 10 test -S "$SLURM/munge/socket"
    slurmctld -D >"$SLURM/slurmctld.out" 2>&1 &
    SLURMCTLD=$!
    start_node n1
    start_node n2
    wait_for 30 nodes_idle
}

start_node() {
    slurmd -D -N "$1" >"$SLURM/$1.out" 2>&1 &
    declare -g "SLURMD_$1=$!"
}

nodes_idle() {
    [ "$(sinfo -h -N -o %T 2>/dev/null | grep -c '^idle$')" = 2 ]
}

wait_for() { # SECONDS COMMAND...
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        if [ $SECONDS -ge $until ]; then
            echo "still not after waiting: $*" >&2
            return 1
        fi
        sleep 0.2
    done
}

stop_slurm() {
    # Those of ours alone, by number.
    kill -CONT "${SLURMD_n1:-}" "${SLURMD_n2:-}" 2>/dev/null
    scancel --quiet --user="$(id -un)" 2>/dev/null
    sleep 1
    kill "${SLURMD_n1:-}" "${SLURMD_n2:-}" "${SLURMCTLD:-}" 2>/dev/null
    kill "${MUNGED:-}" 2>/dev/null
    wait 2>/dev/null
}
