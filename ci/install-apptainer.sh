#!/usr/bin/env bash
# Installs Apptainer: the distribution's package where it has one, else (Debian 12) the one of Debian unstable. Run as root;
# what is there already is kept. Unstable's build wants a newer C library than Debian 12 has: it gets that library to itself,
# in a folder of its own, and neither the system's packages nor apt's sources change.
#
#   sudo ci/install-apptainer.sh
set -euo pipefail
case "$#:${1:-}" in
    0:) ;;
    1:-h|1:--help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;;
    *) printf 'error: unknown word %s; ci/install-apptainer.sh takes none\n' "${1@Q}" >&2; exit 2 ;;
esac
lib=/usr/lib/x86_64-linux-gnu
tools=(squashfs-tools squashfuse fuse-overlayfs fuse2fs gocryptfs uidmap debootstrap)   # mount, build and map users without root

die() { printf 'apptainer: %s\n' "$*" >&2; exit 2; }
apt() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >/dev/null; }

from_unstable() {
    local work mirror codename deb program
    [ "$(dpkg --print-architecture)" = amd64 ] || die "this machine is $(dpkg --print-architecture) and Debian has no package here; build Apptainer 1.4 or newer from source"
    work=$(mktemp -d)
    # shellcheck disable=SC2064  # the folder is known now
    trap "rm -rf '$work'" EXIT
    apt install -y --no-install-recommends --no-upgrade patchelf "${tools[@]}"
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    # shellcheck disable=SC2016  # apt fills it in
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $codename" | sed q)   # this machine's own
    [ -n "$mirror" ] || die "apt knows no Debian mirror for $codename; run apt-get update and check /etc/apt/sources.list"
    mkdir -p "$work"/{lists,cache/archives}/partial "$work/libs"
    echo "deb $mirror sid main" >"$work/sources.list"
    # Check-Valid-Until: a mirror frozen at a date serves indexes past their expiry; the signature is still checked.
    local sid=(-o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$work/lists"
               -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false)
    apt "${sid[@]}" update
    (cd "$work" && apt "${sid[@]}" download apptainer libc6 libseccomp2 libsqlite3-0) || die "cannot download Apptainer; check the network and apt's mirror"
    for deb in "$work"/lib*.deb; do dpkg-deb -x "$deb" "$work/libs"; done
    install -Dt $lib/apptainer/libc "$work"/libs$lib/{ld-linux-x86-64.so.2,libc.so.6,libm.so.6,libresolv.so.2,libseccomp.so.2,libsqlite3.so.0}
    dpkg-deb --fsys-tarfile "$work"/apptainer_*.deb | tar -xC / --no-overwrite-dir ./etc ./usr/bin ./usr/lib ./var
    for program in /usr/bin/apptainer $lib/apptainer/bin/starter; do
        patchelf --set-interpreter $lib/apptainer/libc/ld-linux-x86-64.so.2 --force-rpath --set-rpath $lib/apptainer/libc "$program"
    done
}

install_apptainer() {
    command -v apt-get >/dev/null || die "this is not a Debian or Ubuntu system; install Apptainer 1.3 or newer with its own package manager"
    [ "$(id -u)" = 0 ] || die "only root can install it; run: sudo ci/install-apptainer.sh"
    apt update || die "apt-get update failed; check the network and apt's sources"
    if [ -n "$(apt-cache madison apptainer)" ]; then
        apt install -y --no-install-recommends apptainer "${tools[@]}"
    else
        from_unstable
    fi
}

root_can_start_it() { (( 16#$(awk '/^CapEff/ { print $2 }' /proc/self/status) >> 24 & 1 )); }   # bit 24: CAP_SYS_RESOURCE

# Where root lacks CAP_SYS_RESOURCE (inside most containers), Apptainer refuses to start as root. In a user namespace of its own
# root has every capability again: a wrapper earlier in the PATH starts it there, for building as well as for running.
add_wrapper() {
    grep -q ^root: /etc/subuid || usermod --add-subuids 100000-165535 --add-subgids 100000-165535 root
    unshare --map-root-user --map-auto --mount true || die "this machine allows no user namespaces; set kernel.unprivileged_userns_clone=1 or give root CAP_SYS_RESOURCE"
    cat >/usr/local/bin/apptainer <<'SH'
#!/bin/sh
[ "$(id -u)" = 0 ] || exec /usr/bin/apptainer "$@"   # an ordinary user needs no help
exec unshare --map-root-user --map-auto --mount /usr/bin/apptainer "$@"
SH
    chmod 755 /usr/local/bin/apptainer
}

[ -x /usr/bin/apptainer ] || apptainer --version >/dev/null 2>&1 || install_apptainer
[ "$(id -u)" != 0 ] || root_can_start_it || [ -x /usr/local/bin/apptainer ] || add_wrapper
hash -r
apptainer --version
