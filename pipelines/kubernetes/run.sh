#!/usr/bin/env bash
# Runs the data stages as jobs of Kubernetes, one after the other: pipelines/kubernetes/run.sh PIPELINE.toml
# The image is pipelines/Containerfile (target `data`), pushed as bedtime-data where the cluster finds it.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
kubectl create configmap bedtime-pipeline --from-file=pipeline.toml="${1:?PIPELINE.toml}" \
    --dry-run=client -o yaml | kubectl apply -f -
kubectl apply -f "$here/0-out.yaml"
for stage in 1-fetch 2-tokenizer 3-tokenize 4-pack; do
    job=job/bedtime-${stage#*-}
    kubectl delete --ignore-not-found "$job"
    kubectl apply -f "$here/$stage.yaml"
    # A job that failed is never complete.
    until kubectl wait --for=condition=complete --timeout=5s "$job" 2>/dev/null; do
        if kubectl wait --for=condition=failed --timeout=1s "$job" 2>/dev/null; then
            kubectl logs "$job" --tail=20 >&2
            exit 1
        fi
    done
done
