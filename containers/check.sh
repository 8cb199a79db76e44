#!/usr/bin/env bash
# Is this image fit to run on this host? containers/check.sh IMAGE [--key PUBLIC.pem]
#
# IMAGE is a .sif file or a name (cpu, v100, latest, k80: containers/NAME.sif). With --key it must be signed with that key, and
# with the site's own as well if BIGEARTH_IMAGE_KEY names one. Prints the image's digest, which for an image that this suite did
# not build is its file's SHA-256; or says in one sentence what is wrong and ends with exit code 2.
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
die() { printf 'error: %s\n' "$*" >&2; exit 2; }
usage="expected containers/check.sh IMAGE [--key PUBLIC.pem]"

[[ ${1:-} != -h && ${1:-} != --help ]] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$here/check.sh"; exit; }
[ $# -gt 0 ] || die "command line: no image; $usage"
for word in "$@"; do [ -n "$word" ] || die "command line: a word is empty; $usage"; done
image=$1
shift
keys=(${BIGEARTH_IMAGE_KEY:+"$BIGEARTH_IMAGE_KEY"})   # the site's is checked whatever the command line says
while [ $# -gt 0 ]; do
    [ "$1" = --key ] || die "command line: unknown word $1; $usage"
    [ $# -gt 1 ] || die "command line: --key needs a file, the site's public key in PEM format"
    keys+=("$2")
    shift 2
done

known=$(basename -s .conf -a "$here"/*.conf | xargs)
if [[ $image == *.sif ]]; then
    [[ $image == /* ]] || image=$PWD/$image   # no name is taken for an option
else
    [[ " $known " == *" $image "* ]] || die "no image is called '$image'; expected a .sif file or one of: ${known// /, }"
    image=$here/$image.sif
fi
may_map_users() {
    unshare --user true 2>/dev/null ||
        die "this host allows no user namespaces; ask for set-uid Apptainer or for user.max_user_namespaces above 0"
}
engine=''
for name in apptainer singularity; do [ -n "$engine" ] || ! "$name" --version >/dev/null 2>&1 || engine=$name; done
[ -n "$engine" ] || {
    ! command -v apptainer >/dev/null || may_map_users
    die "apptainer is not installed, nor is singularity; run ci/install-apptainer.sh as root, or load the site's module"
}
[ -f "$image" ] || die "$image: no such image; build it with \`containers/build.sh $(basename "$image" .sif)\`"
parts=$("$engine" sif list "$image" 2>/dev/null) || die "$image: not an Apptainer image, or one cut short; build or copy it again"

case $(uname -m) in x86_64) machine=amd64 ;; aarch64) machine=arm64 ;; *) machine=$(uname -m) ;; esac
built_for=$(sed -n 's/.*\*System\/\([a-z0-9]*\).*/\1/p' <<<"$parts")
[ "$built_for" = "$machine" ] || die "$image: built for $built_for and this host is $machine; build it on a machine of this kind"

for key in "${keys[@]}"; do
    [ -r "$key" ] || die "$key: cannot read this key; expected the site's public key in PEM format"
    "$engine" verify --key "$key" "$image" >/dev/null 2>&1 ||
        die "$image: not signed with $key, which this site requires; sign it with \`containers/build.sh $(basename "$image" .sif) --sign KEY\`"
done

# What the image says of itself: digest, what training misses in it, the family of its MPI.
# shellcheck disable=SC2016  # a shell inside the image fills it in
ask='missing=$(python -c "import importlib.util as u; print(*[m for m in \"tensorflow horovod h5py numpy scipy sklearn tqdm\".split() if not u.find_spec(m)])" 2>/dev/null) || missing=python
echo "$BIGEARTH_IMAGE_DIGEST|$missing|$(mpirun --version 2>/dev/null | sed 1q)"'
said=$("$engine" exec "$image" sh -c "$ask" 2>&1) || {
    may_map_users
    die "$image: $engine cannot start it: $(tail -n1 <<<"$said")"
}
IFS='|' read -r digest missing mpi <<<"$(tail -n1 <<<"$said")"
[ -z "$missing" ] || die "$image: has no ${missing// /, no }; an image for training needs Python with TensorFlow, Horovod, h5py, NumPy, SciPy, scikit-learn and tqdm"

family() { case $1 in *"Open MPI"*|*OpenRTE*) echo "Open MPI" ;; *HYDRA*|*MPICH*|*"Intel(R) MPI"*) echo MPICH ;; esac; }
host=$(family "$(mpirun --version 2>/dev/null | sed 1q || true)") inside=$(family "$mpi")
if [ -n "$host" ] && [ -n "$inside" ] && [ "$host" != "$inside" ]; then
    problem="the host's mpirun is $host and the image has $inside: its ranks would not find each other"
    srun --version >/dev/null 2>&1 || die "$problem; load an $inside module or use srun --mpi=pmix"
    echo "warning: $problem; start it with srun --mpi=pmix" >&2
fi

# The SHA-256 of a file that changed neither size nor time is not computed again: gigabytes, in every job.
file_digest() {
    local cache=${XDG_CACHE_HOME:-$HOME/.cache}/bigearth-bench/digests state digest
    state=$(stat -Lc '%s %y %i' "$image")
    cache=$cache/$(sha256sum <<<"$(realpath "$image") $state" | cut -c1-64)
    digest=$(cat "$cache" 2>/dev/null || true)
    [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || {
        digest=sha256:$(sha256sum <"$image" | cut -c1-64)
        [ "$state" = "$(stat -Lc '%s %y %i' "$image")" ] || die "$image: changed while it was read; wait until it is complete"
        { mkdir -p "$(dirname "$cache")" && echo "$digest" >"$cache.$$" && mv "$cache.$$" "$cache"; } 2>/dev/null || rm -f "$cache.$$"
    }
    echo "$digest"
}
[[ $digest == sha256:* ]] || digest=$(file_digest)
echo "$digest"
