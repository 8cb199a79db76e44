#!/usr/bin/env bash
# Is this image fit to run on this host? containers/check.sh IMAGE [--key PUBLIC.pem]
# IMAGE is a .sif file or a name (cpu, v100, latest, k80: containers/NAME.sif). With --key, or with BIGEARTH_IMAGE_KEY set, it must
# be signed by the site. Prints the image's digest; or says in one sentence what is wrong and ends with exit code 2.
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
die() { printf 'error: %s\n' "$*" >&2; exit 2; }

image=${1:-} key=${BIGEARTH_IMAGE_KEY:-}
case ${2:-} in
    '') ;;
    --key) key=${3:-}; [ -n "$key" ] || die "command line: --key needs a file, the site's public key in PEM format" ;;
    *) die "command line: unknown option $2; expected containers/check.sh IMAGE [--key PUBLIC.pem]" ;;
esac

known=$(basename -s .conf -a "$here"/*.conf | xargs)
[[ $image == *.sif ]] || {
    [[ " $known " == *" $image "* && -n $image ]] || die "no image is called '$image'; expected a .sif file or one of: ${known// /, }"
    image=$here/$image.sif
}
may_map_users() {
    unshare --user true 2>/dev/null ||
        die "this host allows no user namespaces; ask for set-uid Apptainer or for user.max_user_namespaces above 0"
}
apptainer --version >/dev/null 2>&1 || {
    ! command -v apptainer >/dev/null || may_map_users
    die "apptainer is not installed; run ci/install-apptainer.sh as root, or load the site's module"
}
[ -f "$image" ] || die "$image: no such image; build it with \`containers/build.sh $(basename "$image" .sif)\`"
parts=$(apptainer sif list "$image" 2>/dev/null) || die "$image: not an Apptainer image, or one cut short; build or copy it again"

case $(uname -m) in x86_64) machine=amd64 ;; aarch64) machine=arm64 ;; *) machine=$(uname -m) ;; esac
built_for=$(sed -n 's/.*\*System\/\([a-z0-9]*\).*/\1/p' <<<"$parts")
[ "$built_for" = "$machine" ] || die "$image: built for $built_for and this host is $machine; build it on a machine of this kind"

if [ -n "$key" ]; then
    [ -r "$key" ] || die "$key: cannot read this key; expected the site's public key in PEM format"
    apptainer verify --key "$key" "$image" >/dev/null 2>&1 ||
        die "$image: not signed with $key, which this site requires; sign it with \`containers/build.sh $(basename "$image" .sif) --sign KEY\`"
fi

start=$(apptainer exec "$image" sh -c 'echo "$BIGEARTH_IMAGE_DIGEST|$(mpirun --version | sed 1q)"' 2>&1) || {
    may_map_users
    die "$image: Apptainer cannot start it: $(tail -n1 <<<"$start")"
}
start=$(tail -n1 <<<"$start")
[[ $start == sha256:* ]] || die "$image: not an image of this suite (it has no digest); build one with \`containers/build.sh NAME\`"
family() { case $1 in *"Open MPI"*|*OpenRTE*) echo "Open MPI" ;; *HYDRA*|*MPICH*|*"Intel(R) MPI"*) echo MPICH ;; esac; }
host=$(family "$(mpirun --version 2>/dev/null | sed 1q || true)")
[ -z "$host" ] || [ "$host" = "$(family "${start#*|}")" ] ||
    die "the host's mpirun is $host and the image has $(family "${start#*|}"): its ranks would not find each other; load an Open MPI 4.1 module or use srun --mpi=pmix"
echo "${start%%|*}"
