#!/usr/bin/env bash
# Submits the data stages as a chain: fetch (array) -> tokenizer -> tokenize (array) -> pack. Prints the job of pack.
#   pipelines/slurm/submit.sh PIPELINE.toml OUT [PARTS] [SBATCH OPTION...]
# OUT and BIN (default target/release) are on a file system that all nodes share. Run again, it does what is left.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
if [ $# -lt 2 ]; then
    sed -n '2,4s/^# *//p' "$0" >&2
    exit 2
fi
pipeline=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
parts=${3:-8}
shift $(($# < 3 ? $# : 3))
BIN=$(realpath "${BIN:-$here/../../target/release}")
export BIN
mkdir -p "$out/slurm"

submit() { # NAME STAGE [SBATCH OPTION...]
    local name=$1 stage=$2
    shift 2
    sbatch --parsable --job-name="$name" --output="$out/slurm/%x-%A_%a.log" --export=ALL \
        --kill-on-invalid-dep=yes "$@" "$here/stage.sbatch" "$stage" --config "$pipeline" --out "$out"
}

fetch=$(submit fetch fetch-parquet --array="1-$parts" "$@")
tokenizer=$(submit tokenizer train-tokenizer --dependency="afterok:$fetch" "$@")
tokenize=$(submit tokenize tokenize --array="1-$parts" --dependency="afterok:$tokenizer" "$@")
submit pack pack-bin --dependency="afterok:$tokenize" "$@"
