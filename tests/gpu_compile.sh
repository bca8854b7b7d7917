#!/usr/bin/env bash
# Every kernel that a plan can use, on the compilers of Mesa's drivers, with no GPU: nothing is executed, registers and spills are real.
# Debian's next release is unpacked into a folder of its own (650 MB, once).
#
#   tests/gpu_compile.sh           all chips; writes tests/bench/GPU_COMPILE.md
#   tests/gpu_compile.sh --quick   Turing, navi31 and M1, the plan's first choices; writes nothing
#
# Fails on a refused pipeline, on a spill (heads of 128: on more than 16), and on more than 208 registers in a matmul on NVIDIA.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${BEDTIME_COMPILERS:-${XDG_CACHE_HOME:-$HOME/.cache}/bedtime/compilers}
libraries=$folder/usr/lib/x86_64-linux-gnu
program=target/release/gpu-compile

. tests/debian.sh
unpack "$folder" mesa-vulkan-drivers mesa-drm-shim libvulkan1

rows=$(mktemp -d)
mkdir "$rows/drivers"
trap 'rm -rf "$rows"' EXIT

# chip, driver, shim, then what wgpu reports of its subgroups, matrices and workgroup memory
compile() {
    local chip=$1 driver=$2 shim=$3
    shift 3
    echo "{\"file_format_version\":\"1.0.1\",\"ICD\":{\"api_version\":\"1.4.0\",\"library_path\":\"$libraries/libvulkan_$driver.so\"}}" \
        >"$rows/drivers/$driver.json"
    VK_DRIVER_FILES=$rows/drivers/$driver.json MESA_SHADER_CACHE_DISABLE=1 \
        "$folder/lib64/ld-linux-x86-64.so.2" --library-path "$libraries" --preload "$libraries/lib${shim}_noop_drm_shim.so" \
        "$program" compile --chip "$chip" "$@" >"$rows/$chip.json"
}

quick=()
[ "${1:-}" != --quick ] || quick=(--quick)
NOUVEAU_CHIPSET=164 compile turing nouveau nouveau "${quick[@]}"
AMDGPU_GPU_ID=navi31 compile navi31 radeon amdgpu --subgroup 64 --bytes 65536 "${quick[@]}"
compile m1 asahi asahi --side 0 --bytes 32768 "${quick[@]}"
if [ "${#quick[@]}" -gt 0 ]; then
    "$program" report "$rows"/*.json >/dev/null
    exit
fi
# Of Ada too, which has its registers and instructions: Mesa's shim has no Ada (NOUVEAU_CHIPSET=192 gives no device).
NOUVEAU_CHIPSET=172 compile ampere nouveau nouveau
AMDGPU_GPU_ID=gfx1201 compile gfx1201 radeon amdgpu --subgroup 64 --bytes 65536
status=0
"$program" report "$rows"/*.json >"$rows/report.md" || status=$?
mv "$rows/report.md" tests/bench/GPU_COMPILE.md
exit $status
