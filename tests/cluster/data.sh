#!/usr/bin/env bash
# What the tests of this folder share: stories, the bytes that one process makes of them, and a comparison with these.
# Sourced; sets WORK, BIN and PIPELINE.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BIN=$(realpath "${BIN:-$ROOT/target/release}")
WORK=$(mktemp -d "${TMPDIR:-/tmp}/bedtime-cluster.XXXXXX")
PIPELINE=$WORK/small.toml
export BIN
export BEDTIME_RETRY_BASE_MS=5

# Six files to train on and one to validate with.
make_stories() {
    cat >"$PIPELINE" <<END
[fetch]
source = "$WORK/in"
[tokenizer]
vocab_size = 600
max_stories = 2000
[tokenize]
shards = 5
END
    mkdir -p "$WORK/in"
    local seed name
    for seed in 1 2 3 4 5 6 7; do
        "$BIN/fetch-parquet" --config "$ROOT/pipelines/quickstart.toml" --out "$WORK/seed" --force \
            --set "fetch.seed=$seed" --max-stories $((2000 + 500 * seed)) >/dev/null 2>&1
        name=train-$seed
        [ "$seed" = 7 ] && name=validation
        cp "$WORK/seed/raw/train-00000-of-00001.parquet" "$WORK/in/$name.parquet"
    done
    local stage
    for stage in fetch-parquet train-tokenizer tokenize pack-bin; do
        "$BIN/$stage" --config "$PIPELINE" --out "$WORK/one" >/dev/null 2>&1
    done
}

# The hashes of what the stages hand on.
hashes() { # OUT
    (cd "$1" && sha256sum raw/*.parquet tokenizer.json tokens/*.arrow train.bin val.bin)
}

same_bytes() { # CASE OUT
    if diff <(hashes "$WORK/one") <(hashes "$2") >"$WORK/diff"; then
        echo "ok    $1 (${SECONDS} s)"
    else
        fail "$1: other bytes than one process makes: $(cat "$WORK/diff")"
    fi
}

fail() {
    echo "FAIL  $*" >&2
    exit 1
}
