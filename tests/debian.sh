# For scripts that source it: unpack FOLDER PACKAGE... puts packages of Debian's next release into a folder of their own, once.
# Debian and Ubuntu on x86-64 only; needs root for debootstrap.
unpack() {
    local folder=$1
    shift
    [ ! -e "$folder/.complete" ] || return 0
    [ "$(uname -sm)" = "Linux x86_64" ] || { echo "$0: expected Linux on x86-64" >&2; exit 1; }
    local apt=(apt-get -o DPkg::Lock::Timeout=300)
    command -v debootstrap >/dev/null || { "${apt[@]}" update -qq && "${apt[@]}" install -y -qq debootstrap; } >&2
    # An older debootstrap does not know the newer suite; all suites share one script.
    local scripts=/usr/share/debootstrap/scripts
    [ -e "$scripts/forky" ] || ln -s sid "$scripts/forky"
    rm -rf "$folder"
    mkdir -p "$folder"
    local mirror
    mirror=$(sed -nE 's/^(deb |URIs: )[^ ]*(https?:[^ ]*).*/\2/p; s/^deb .*(https?:[^ ]*) .*/\1/p' \
        /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -v security | head -n 1 || true)
    debootstrap --variant=minbase "--include=$(IFS=,; echo "$*")" forky "$folder" ${mirror:+"$mirror"} >&2
    touch "$folder/.complete"
}
