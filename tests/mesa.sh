#!/usr/bin/env bash
# A second software Vulkan for the GPU's tests: Mesa's lavapipe of Debian's next release, which has cooperative matrices. It
# is unpacked into a folder of its own and touches nothing of the system. Prints the folder.
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

. "$(dirname "$0")/debian.sh"
unpack "$folder" mesa-vulkan-drivers libvulkan1
if [ ! -e "$folder/lvp.json" ]; then
    sed "s|\"library_path\": *\"[^\"]*\"|\"library_path\": \"$libraries/libvulkan_lvp.so\"|" \
        "$folder"/usr/share/vulkan/icd.d/lvp_icd*.json >"$folder/lvp.json"
fi

if [ $# -eq 0 ]; then
    echo "$folder"
else
    shift
    # With the folder's own loader and C library: the driver is built for them.
    VK_DRIVER_FILES=$folder/lvp.json exec "$folder/lib64/ld-linux-x86-64.so.2" --library-path "$libraries" "$@"
fi
