#!/usr/bin/env bash
# Sets everything up on Debian 12: system packages, a virtual environment in .venv, Horovod built from its source release.
#
#   ci/bootstrap.sh
#
# Run it again at any time: what is there already is kept, and a second run takes about a second.
set -euo pipefail
case "$#:${1:-}" in
    0:) ;;
    1:-h|1:--help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;;
    *) printf 'error: unknown word %s; ci/bootstrap.sh takes none\n' "${1@Q}" >&2; exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache=${XDG_CACHE_HOME:-~/.cache}/bigearth-bench
venv=$PWD/.venv
log=$PWD/.bootstrap.log
python=/usr/bin/python3   # Debian's own: its GDAL, HDF5 and MPI modules are built for this one
horovod_flags=(HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITH_MPI=1 HOROVOD_WITH_GLOO=1)

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# step NAME HINT COMMAND...: says what it does, keeps the output in the log, and names the step and the way on if it fails.
step() {
    local name=$1 hint=$2 start=$SECONDS; shift 2
    say "$name ..."
    if ! "$@" >>"$log" 2>&1; then
        tail -n 15 "$log" >&2
        die "step '$name' failed; $hint; then run the same command again (whole log: $log)"
    fi
    say "$name: done in $((SECONDS - start)) s"
}

packages() { sed 's/#.*//' ci/apt-packages.txt | xargs -n1; }

missing_packages() {
    local p
    for p in $(packages); do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || printf '%s ' "$p"
    done
}

install_packages() {
    apt-get update
    # shellcheck disable=SC2086  # a list of package names
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $1
}

# The lock's entry for one package (a line with its hashes), or everything but that entry.
lock_entry() { sed -n "/^$1==/,/[^\\\\]\$/p" requirements.lock; }
lock_without() { sed "/^$1==/,/[^\\\\]\$/d" requirements.lock; }

install_python_packages() {
    rm -rf "$venv"
    "$python" -m venv --system-site-packages "$venv"
    "$venv/bin/pip" install --disable-pip-version-check --no-deps --require-hashes -r <(lock_without horovod)
}

# The suite itself, so that `bigearth-bench` and the imports work from any folder.
install_suite() {
    "$venv/bin/pip" install --disable-pip-version-check --no-deps --no-build-isolation -e .
}

# Horovod is compiled against one TensorFlow, Python and MPI: its wheel is cached under the digest of all of them.
horovod_key() {
    { lock_entry horovod; lock_entry tensorflow-cpu; "$python" --version
      dpkg-query -W -f '${Package} ${Version}\n' libopenmpi-dev g++; printf '%s\n' "${horovod_flags[@]}"; } | sha256sum | cut -c1-16
}

build_horovod() {
    local work; work=$(mktemp -d)
    lock_entry horovod >"$work/horovod.txt"
    env "${horovod_flags[@]}" MAKEFLAGS="-j$(nproc)" PATH="$venv/bin:$PATH" \
        "$venv/bin/pip" wheel --disable-pip-version-check --no-deps --no-build-isolation --no-binary horovod --require-hashes \
        -w "$work" -r "$work/horovod.txt" &&
        mkdir -p "$wheels" && mv "$work"/horovod-*.whl "$wheels/"
    local status=$?
    rm -rf "$work"
    return $status
}

install_horovod() {
    "$venv/bin/pip" install --disable-pip-version-check --no-deps --force-reinstall "$wheels"/horovod-*.whl
}

check_imports() {
    # Debian's h5py takes its MPI build only under an MPI launcher, or when told to.
    H5PY_ALWAYS_USE_MPI=1 TF_CPP_MIN_LOG_LEVEL=2 "$venv/bin/python" - <<'PY'
from osgeo import gdal          # GDAL before TensorFlow: both carry a protobuf, and this order is the one that works
import h5py, mpi4py, numpy, sklearn, matplotlib, reframe
import horovod.tensorflow as hvd
assert h5py.get_config().mpi, "h5py has no MPI-IO: a pip-installed h5py hides Debian's"
assert hvd.mpi_built() and hvd.gloo_built(), "Horovod was built without MPI or Gloo"
PY
}

fingerprint() {
    { cat ci/bootstrap.sh ci/apt-packages.txt requirements.lock pyproject.toml; echo "$venv"; } | sha256sum | cut -c1-32
}

main() {
    [ -r /etc/debian_version ] || die "this is not Debian; Debian 12 was expected: use the container images (make images) on other systems"
    exec 9>"$PWD/.bootstrap.lock"; flock 9      # two targets at once set up once
    local missing; missing=$(missing_packages)
    if [ -z "$missing" ] && [ "$(cat "$venv/.fingerprint" 2>/dev/null)" = "$(fingerprint)" ]; then
        say "everything is in place ($venv)"
        return
    fi
    : >"$log"
    if [ -n "$missing" ]; then
        [ "$(id -u)" = 0 ] || die "system packages are missing and only root can install them; run: apt-get install --no-install-recommends $missing"
        step "installing system packages: $missing" "check the network and apt's sources" install_packages "$missing"
    fi
    step "installing Python packages into .venv (requirements.lock)" "check the network and pip's index" install_python_packages
    wheels=$cache/horovod-$(horovod_key)
    if compgen -G "$wheels/horovod-*.whl" >/dev/null; then
        say "Horovod wheel found in $wheels"
    else
        step "building Horovod from source (once; about 6 minutes on 2 cores)" "check the compiler's message above" build_horovod
    fi
    step "installing Horovod" "delete $wheels" install_horovod
    step "installing the command bigearth-bench" "read the message above" install_suite
    step "checking that GDAL, HDF5, MPI, TensorFlow and Horovod load together" "read the message above" check_imports
    fingerprint >"$venv/.fingerprint"
    say "ready: $venv"
}

main
