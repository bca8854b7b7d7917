#!/usr/bin/env bash
# A second software Vulkan for the GPU's tests: Mesa's lavapipe of Debian's next release, which has cooperative matrices. It
# is unpacked into a folder of its own and touches nothing of the system. Debian and Ubuntu on x86-64 only; needs root for
# debootstrap. Prints the folder.
#
#   tests/mesa.sh [DIR]                    unpacks it, once [BEDTIME_MESA, or ~/.cache/bedtime/mesa]
#   tests/mesa.sh [DIR] -- PROGRAM ARGS    runs a program on it
set -euo pipefail

folder=${BEDTIME_MESA:-${XDG_CACHE_HOME:-$HOME/.cache}/bedtime/mesa}
if [ $# -gt 0 ] && [ "$1" != "--" ]; then
    folder=$1
    shift
fi
libraries=$folder/usr/lib/x86_64-linux-gnu

if [ ! -e "$folder/.complete" ]; then
    [ "$(uname -sm)" = "Linux x86_64" ] || { echo "tests/mesa.sh: expected Linux on x86-64" >&2; exit 1; }
    command -v debootstrap >/dev/null || { apt-get update -qq && apt-get install -y -qq debootstrap; } >&2
    # An older debootstrap does not know the newer suite; all suites share one script.
    scripts=/usr/share/debootstrap/scripts
    [ -e "$scripts/forky" ] || ln -s sid "$scripts/forky"
    rm -rf "$folder"
    mkdir -p "$folder"
    mirror=$(sed -nE 's/^(deb |URIs: )[^ ]*(https?:[^ ]*).*/\2/p; s/^deb .*(https?:[^ ]*) .*/\1/p' \
        /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -v security | head -n 1 || true)
    debootstrap --variant=minbase --include=mesa-vulkan-drivers,libvulkan1 forky "$folder" ${mirror:+"$mirror"} >&2
    sed "s|\"library_path\": *\"[^\"]*\"|\"library_path\": \"$libraries/libvulkan_lvp.so\"|" \
        "$folder"/usr/share/vulkan/icd.d/lvp_icd*.json >"$folder/lvp.json"
    touch "$folder/.complete"
fi

if [ $# -eq 0 ]; then
    echo "$folder"
else
    shift
    # With the folder's own loader and C library: the driver is built for them.
    VK_DRIVER_FILES=$folder/lvp.json exec "$folder/lib64/ld-linux-x86-64.so.2" --library-path "$libraries" "$@"
fi
