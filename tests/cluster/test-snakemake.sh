#!/usr/bin/env bash
# pipelines/Snakefile on this machine: what one process makes, and after an output was removed or
# a setting changed what has to be made again and nothing else.
set -euo pipefail
. "$(dirname "$0")/data.sh"

finish() {
    local code=$?
    if [ $code = 0 ]; then
        rm -rf "$WORK"
    else
        tail -n 30 "$WORK/snakemake.log" >&2 || true
        echo "left in $WORK" >&2
    fi
}
trap finish EXIT

run() { # PROFILE OUT [OPTION...]
    local profile=$1 out=$2
    shift 2
    (cd "$WORK" && "${SNAKEMAKE:-snakemake}" -s "$ROOT/pipelines/Snakefile" \
        --profile "$ROOT/pipelines/profiles/$profile" "$@" \
        --config "pipeline=$PIPELINE" "out=$out" "bin=$BIN" parts=3 wait=5) >"$WORK/snakemake.log" 2>&1 ||
        fail "snakemake"
}

# The rules that ran, with how often: "tokenize 1".
ran() { # EXPECTED
    local found
    found=$(sed -n '/^job  *count/,/^total/p' "$WORK/snakemake.log" |
        awk '$2 ~ /^[0-9]+$/ && $1 != "total" && $1 != "all" {print $1, $2}' | sort -u | paste -sd, || true)
    [ "$found" = "$1" ] || fail "$CASE: ran \"$found\", expected \"$1\""
    echo "ok    $CASE: ran \"$found\" (${SECONDS} s)"
}

# Files with data in them, by name and time: none of them may be written again for nothing.
times() { (cd "$1" && stat -c '%n %Y.%y' raw/*.parquet tokenizer.json tokens/*.arrow train.bin val.bin); }

make_stories
out=$WORK/local

CASE="all"
run local "$out"
ran "fetch 3,pack 1,tokenize 3,tokenizer 1"
same_bytes "Snakemake on this machine" "$out"
made=$(times "$out")

CASE="again"
run local "$out"
ran ""

CASE="a manifest of tokenize removed"
rm "$out/tokens/manifest-2-of-3.json"
run local "$out"
ran "pack 1,tokenize 1"
[ "$(times "$out")" = "$made" ] || fail "$CASE: files were written again: $(diff <(times "$out") <(echo "$made"))"

CASE="a manifest of fetch removed"
rm "$out/raw/manifest-1-of-3.json"
run local "$out"
ran "fetch 1,pack 1,tokenize 3,tokenizer 1"
[ "$(times "$out")" = "$made" ] || fail "$CASE: files were written again: $(diff <(times "$out") <(echo "$made"))"

CASE="a shard removed with its manifest"
rm "$out/tokens/manifest-1-of-3.json" "$out/tokens/train-00000-of-00005.arrow"
run local "$out"
ran "pack 1,tokenize 1"
same_bytes "a removed shard" "$out"

CASE="another seed of the order"
sed -i '$a [pack]\nseed = 2' "$PIPELINE"
run local "$out"
ran "pack 1"
sed -i '$d' "$PIPELINE" && sed -i '$d' "$PIPELINE"
run local "$out"
same_bytes "the first seed again" "$out"
