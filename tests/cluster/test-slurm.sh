#!/usr/bin/env bash
# The data stages as pipelines/slurm/ submits them, on a Slurm of its own, with what goes wrong on a cluster: after each
# case every file has the bytes that one process makes.
set -euo pipefail
. "$(dirname "$0")/data.sh"
. "$(dirname "$0")/slurm.sh"

finish() {
    local code=$?
    stop_slurm || true
    if [ $code = 0 ]; then
        rm -rf "$WORK"
    else
        tail -n 20 "$WORK"/*/slurm/*.log >&2 || true
        echo "left in $WORK" >&2
    fi
}
trap finish EXIT

# Programs between Slurm and the stages, which do once what a file in FAULTS says.
make_faulty() {
    mkdir -p "$WORK/bin" "$WORK/faults"
    local stage
    for stage in fetch-parquet train-tokenizer tokenize pack-bin; do
        cat >"$WORK/bin/$stage" <<END
#!/usr/bin/env bash
once() { mv "$WORK/faults/$stage-\$1" "$WORK/faults/.done-\$\$" 2>/dev/null; }
[ -e "$WORK/faults/slow" ] && sleep 3
once "code-\${SLURM_ARRAY_TASK_ID:-0}" && exit "\$(cat "$WORK/faults/.done-\$\$")"
"$BIN/$stage" "\$@" &
child=\$!
trap 'kill -TERM \$child 2>/dev/null' TERM USR1
if once "usr1-\${SLURM_ARRAY_TASK_ID:-0}"; then
    sleep 0.02
    kill -USR1 \$child 2>/dev/null
fi
if [ "\${SLURMD_NODENAME:-}" = n2 ] && once hang; then
    kill -STOP \$child
    echo \$child >"$WORK/faults/stopped"
fi
wait \$child
END
        chmod +x "$WORK/bin/$stage"
    done
}

submit() { # OUT: prints the job of pack
    BIN=$WORK/bin WAIT=5 "$ROOT/pipelines/slurm/submit.sh" "$PIPELINE" "$1" 4
}

field() { # JOB FIELD
    scontrol show job -o "$1" | grep -o "$2=[^ ]*" | head -1 | cut -d= -f2
}

ended() {
    [[ $(field "$1" JobState) =~ ^(COMPLETED|FAILED|CANCELLED|NODE_FAIL|TIMEOUT)$ ]]
}

await() { # JOB STATE
    wait_for 120 ended "$1"
    local state
    state=$(field "$1" JobState)
    [ "$state" = "$2" ] || fail "job $1 is $state, expected $2"
}

restarts() { # NAME: of all jobs of the name
    scontrol show job -o | grep "JobName=$1 " | grep -o 'Restarts=[0-9]*' | cut -d= -f2 | paste -sd+ | bc
}

running() { # NAME
    [ -n "$(squeue -h -n "$1" -t RUNNING -o %i)" ]
}

make_stories
make_faulty
start_slurm "$WORK/slurm"
faults=$WORK/faults

await "$(submit "$WORK/chain")" COMPLETED
same_bytes "a chain of 4 jobs an array" "$WORK/chain"

echo 4 >"$faults/fetch-parquet-code-2"
echo 130 >"$faults/tokenize-code-1"
touch "$faults/tokenize-usr1-3"
await "$(submit "$WORK/requeue")" COMPLETED
[ "$(restarts fetch)" -ge 1 ] && [ "$(restarts tokenize)" -ge 1 ] || fail "nothing was put back into the queue"
same_bytes "exit codes 4 and 130, and SIGUSR1, put jobs back into the queue" "$WORK/requeue"

echo 3 >"$faults/train-tokenizer-code-0"
job=$(submit "$WORK/bad")
await "$job" CANCELLED
[ ! -e "$WORK/bad/tokens" ] || fail "tokenize ran after a tokenizer that failed"
await "$(submit "$WORK/bad")" COMPLETED
same_bytes "exit code 3 fails a job and all that depend on it; then the chain goes on" "$WORK/bad"

touch "$faults/slow"
job=$(submit "$WORK/cancel")
wait_for 30 running fetch
scancel --name=fetch
await "$job" CANCELLED
rm "$faults/slow"
[ -z "$(squeue -h -o %i)" ] || fail "a cancelled job is back in the queue"
await "$(submit "$WORK/cancel")" COMPLETED
same_bytes "cancelled, and submitted again" "$WORK/cancel"

touch "$faults/slow"
job=$(submit "$WORK/drain")
wait_for 30 running fetch
scontrol update nodename=n2 state=drain reason=test
rm "$faults/slow"
await "$job" COMPLETED
scontrol update nodename=n2 state=resume
same_bytes "one of two nodes drained" "$WORK/drain"

# Node n2 hangs in the middle of a part: Slurm gives it up and starts the part anew on n1; then n2 wakes up.
touch "$faults/tokenize-hang"
job=$(submit "$WORK/hang")
wait_for 60 test -e "$faults/stopped"
kill -STOP "$SLURMD_n2"
requeued() { [ "$(restarts tokenize)" -gt "$before" ]; }
before=$(restarts tokenize)
wait_for 60 requeued
again() { scontrol show job -o | grep "JobName=tokenize " | grep -v 'Restarts=0' | grep -q 'JobState=\(RUNNING\|COMPLETED\).* BatchHost=n1'; }
wait_for 60 again
kill -CONT "$(cat "$faults/stopped")" "$SLURMD_n2"
await "$job" COMPLETED
same_bytes "a node hangs, its part is made anew, and it wakes up" "$WORK/hang"
sleep 2
same_bytes "and nothing changes when it has woken up" "$WORK/hang"
