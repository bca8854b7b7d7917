#!/usr/bin/env bash
# What the tests of this folder need, where it is not there yet: Slurm from the distribution (Debian, Ubuntu), Snakemake and
# kubernetes-validate from PyPI in target/cluster.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
if ! command -v slurmctld slurmd munged sbatch >/dev/null; then
    $sudo apt-get update -qq
    # Of Slurm and munge only the programs: the tests start their own.
    printf '#!/bin/sh\nexit 101\n' | $sudo tee /usr/sbin/policy-rc.d >/dev/null
    $sudo chmod +x /usr/sbin/policy-rc.d
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends \
        munge slurmctld slurmd slurm-client
    $sudo rm /usr/sbin/policy-rc.d
fi
venv=$root/target/cluster
if [ ! -x "$venv/bin/snakemake" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" -q install snakemake==9.* snakemake-executor-plugin-slurm kubernetes-validate
fi
