#!/usr/bin/env bash
# Builds an image: containers/build.sh NAME, with NAME one of cpu, v100, latest, k80. Writes NAME.sif and NAME.json (digest, sizes,
# versions of everything inside). As root, or as an ordinary user with subordinate ids (then --fakeroot is implied).
#
#   --out DIR             where NAME.sif and NAME.json go (default: containers)
#   --bootstrap docker    start from a Docker image instead of debootstrap; --from IMAGE says which
#   --mirror URL          Debian mirror (default: the one apt uses here); a dated snapshot mirror makes a build repeatable for ever
#   --wheel FILE          Horovod compiled before for the same versions (ci/bootstrap.sh keeps one): spares 5 minutes; only for cpu
#   --sign KEY.pem        sign it with the site's private key
#   --verify KEY.pem      build nothing: check NAME.sif against the site's public key
#   --force               build again though nothing changed
#
# Each layer is kept in ~/.cache/bigearth-bench under the digest of its inputs: a second build takes seconds.
set -euo pipefail
caller=$PWD
export PATH=$PATH:/usr/sbin:/sbin   # debootstrap is there, and an ordinary user's PATH may not have it
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=${XDG_CACHE_HOME:-~/.cache}/bigearth-bench
ticker='' builder=''   # a process and a group of processes that end with this one
certificates=${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}   # the host's: a site's proxy may have an authority of its own
squashfs=(--mksquashfs-args "-comp zstd -Xcompression-level 3")   # 8 times faster than gzip and 3 % larger

say() { printf 'build: %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 2; }
digest() { sha256sum | cut -c1-64; }

read_options() {
    local word
    for word in "$@"; do
        case $word in
            -h|--help) sed -n '2,/^set/s/^# \{0,1\}//p' containers/build.sh; exit ;;
            '') die "command line: a word is empty; \`containers/build.sh --help\` lists the options" ;;
        esac
    done
    name=${1:-}; shift || true
    out=containers bootstrap=debootstrap from='' mirror='' wheel='' sign='' verify='' force=''
    while [ $# -gt 0 ]; do
        case $1 in
            --force) force=1; shift ;;
            --out|--bootstrap|--from|--mirror|--wheel|--sign|--verify)
                [ $# -gt 1 ] || die "command line: $1 needs a value; \`containers/build.sh --help\` explains the options"
                [[ $1 =~ ^--(bootstrap|from|mirror)$ || $2 == /* ]] || set -- "$1" "$caller/$2" "${@:3}"   # the others are paths
                printf -v "${1#--}" %s "$2"; shift 2 ;;
            *) die "command line: unknown option $1; \`containers/build.sh --help\` lists the options" ;;
        esac
    done
    local known; known=$(basename -s .conf -a containers/*.conf | xargs)
    [[ " $known " == *" $name "* && -n $name ]] || die "no image is called '$name'; expected one of: ${known// /, }"
    # shellcheck source=/dev/null
    . "containers/$name.conf"
    from=${from:-$FROM}
}

# Everything that would stop the build half-way, said before it starts.
check_host() {
    if [ "$(id -u)" != 0 ] || ! apptainer --version >/dev/null 2>&1; then   # as root, too, where Apptainer starts in one
        ! command -v apptainer >/dev/null || unshare --user true 2>/dev/null ||
            die "this host allows no user namespaces; build as root, on another host, or set user.max_user_namespaces above 0"
    fi
    apptainer --version >/dev/null 2>&1 || die "apptainer is not installed; run ci/install-apptainer.sh as root, or load the site's module"
    [ "$(id -u)" = 0 ] || [ -w /dev/fuse ] || [ "$(apptainer buildcfg APPTAINER_SUID_INSTALL)" = 1 ] ||   # said after minutes, else
        die "/dev/fuse is not writable for $(id -un) and Apptainer opens images through it; have its mode set to 666 (Debian's default), or build as root"
    [ "$(uname -m)" = x86_64 ] || die "this machine is $(uname -m) and the locks hold x86-64 packages; build on an x86-64 machine"
    case $bootstrap in
        debootstrap) command -v debootstrap >/dev/null || die "debootstrap is not installed; install it, or use --bootstrap docker" ;;
        docker) ;;
        *) die "command line: --bootstrap $bootstrap; expected debootstrap or docker" ;;
    esac
    [ -z "$sign" ] || [ -r "$sign" ] || die "$sign: cannot read this signing key; expected a private key in PEM format"
    mkdir -p "$cache/images" "$cache/build" "$out" || die "$cache, $out: cannot make these folders; check their permissions"
    mirror=${mirror:-$(debian_mirror)}; mirror=${mirror%/}
    [ -n "$mirror" ] || die "apt here knows no Debian mirror; give one with --mirror URL"
    export PIP_INDEX_URL=${PIP_INDEX_URL:-$(python3 -m pip config get global.index-url 2>/dev/null || python3 -c 'from pip._internal.models.index import PyPI; print(PyPI.simple_url)')}
    local folder free
    for folder in "$cache" "${APPTAINER_TMPDIR:-/tmp}"; do
        free=$(free_in G "$folder")
        [ "$free" -ge "$NEEDS_GB" ] || die "$folder has $free GB free and building $name needs $NEEDS_GB; make room, or set APPTAINER_TMPDIR or XDG_CACHE_HOME"
    done
}

# free_in UNIT FOLDER...: what the fullest of their disks has free.
free_in() { df --output=avail -B"$1" "${@:2}" | tr -dc '0-9\n' | sort -n | sed '/./!d; q'; }

debian_mirror() {
    command -v apt-get >/dev/null || return 0
    local codename
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    # shellcheck disable=SC2016  # apt fills it in
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $codename" | sed 1q
}

reach_sources() {
    local get=(wget -q --timeout=20 --tries=2 -O /dev/null)
    [ ! -f "$certificates" ] || get+=("--ca-certificate=$certificates")
    "${get[@]}" "$mirror/dists/$SUITE/Release" ||
        die "$mirror: no Debian $SUITE can be had there; check the network and the proxy, or give another --mirror"
    "${get[@]}" "${PIP_INDEX_URL%/}/pip/" ||
        die "pip's package index does not answer; check the network and the proxy, or name another in PIP_INDEX_URL"
}

# The image's own lock: its lock files one after another, without the packages it leaves out.
merged_lock() {
    # shellcheck disable=SC2086  # a list of files
    cat $LOCKS | awk -v without=" $WITHOUT " '/^[a-z]/ { split($1, part, "=="); keep = !index(without, " " part[1] " ") } keep'
}
version_of() { awk -F'[= ]+' -v name="^($1)\$" '$1 ~ name { print $2; exit }' "$inputs/requirements.txt"; }

# shellcheck disable=SC2317  # a trap runs it
clean_up() {
    kill -- ${ticker:+$ticker "-$builder"} 2>/dev/null || true
    if [ -n "$builder" ]; then   # Apptainer waits for what it runs
        for _ in {1..50}; do kill -0 -- "-$builder" 2>/dev/null || break; sleep 0.2; done
        kill -KILL -- "-$builder" 2>/dev/null || true
    fi
    wait
    rm -rf "$cache/images/.partial-$$.sif" "$ready".*
    rm -rf "$work" 2>/dev/null || unshare --map-root-user --map-auto rm -rf "$work"   # an ordinary user's build has files of subordinate ids
}

# What each layer is made of, as a digest: the key that it is kept under.
gather_inputs() {
    work=$(mktemp -d -p "${APPTAINER_TMPDIR:-/tmp}"); inputs=$work/inputs
    ready=$out/.$name-$$
    trap clean_up EXIT
    trap 'say "interrupted"; exit 130' INT TERM
    mkdir "$inputs"
    merged_lock >"$inputs/requirements.txt"
    cp containers/{apt-packages.txt,horovod-cuda.sed,selftest.py,materials.py} "$inputs/"
    base_key=$({ cat containers/base.def; grep '^run' containers/apt-packages.txt; echo "$bootstrap $SUITE $mirror $from"; } | digest)
    wheel_key=$({ echo "$base_key $CXX $CUDA_ARCHS"; cat containers/horovod-cuda.sed; sed -n '/^Stage: build/,/^Stage: final/p' containers/image.def
                  awk '/^[a-z]/ { keep = /^(horovod|tensorflow|tensorflow-cpu|nvidia-nccl.*)==/ } keep' "$inputs/requirements.txt"; } | digest)
    key=$({ echo "$base_key $wheel_key $name"; cat containers/image.def "$inputs"/*; } | digest)
    base=$cache/images/base-${base_key:0:16}.sif
    if [ -n "$wheel" ]; then
        local version; version=$(version_of horovod)
        [[ -r $wheel && $(basename "$wheel") == horovod-$version-*-linux_x86_64.whl && $CUDA_ARCHS = none ]] ||
            die "$wheel: not a readable wheel of Horovod $version without CUDA, as ci/bootstrap.sh keeps one for cpu; leave --wheel out to have Horovod compiled"
        wheel_key=$(digest <"$wheel")
    fi
    wheel_folder=wheel-${wheel_key:0:16}
    image=$cache/images/$name-${key:0:16}.sif
}

# layer NAME FILE DEFINITION ARGUMENT...: builds FILE unless it is there; shows the log's last line now and then.
layer() {
    local what=$1 file=$2 definition=$3 start=$SECONDS log=$cache/build/$name.log; shift 3
    [ -z "$force" ] && [ -f "$file" ] && { say "$what: kept from before ($(basename "$file"))"; return; }
    reach_sources
    say "$what: building (log: $log)"
    touch "$work/has-room"   # goes when a disk is full: many programs then fail with another message, and their files are gone at the end
    (trap 'kill $! 2>/dev/null; exit' TERM   # the sleep, too
     while sleep 1 & wait $!; do
         [ "$(free_in M "$cache" "$work")" -ge 256 ] || rm -f "$work/has-room"
         (((SECONDS - start) % 30)) || say "$what: $((SECONDS - start)) s, $(tail -n1 "$log" | tr -cd ' -~' | cut -c1-100)"
     done) & ticker=$!
    local status=0 fakeroot=()
    [ "$(id -u)" = 0 ] || fakeroot=(--fakeroot)
    APPTAINER_TMPDIR=$work setsid apptainer build --force "${fakeroot[@]}" "${squashfs[@]}" --bind "$cache/build:/mnt" "$@" \
        "$cache/images/.partial-$$.sif" "$definition" >"$log" 2>&1 & builder=$!
    wait $builder || status=$?
    kill $ticker; wait $ticker 2>/dev/null || true
    ticker='' builder=''
    if [ $status != 0 ]; then
        ! { [ ! -f "$work/has-room" ] || grep -q 'No space left on device' "$log"; } || die "the disk became full while building $what; make room in $cache and ${APPTAINER_TMPDIR:-/tmp} and run it again"
        tail -n 15 "$log" >&2
        die "building $what failed; the reason is above and the whole log in $log; correct it and run the same command again"
    fi
    echo $((SECONDS - start)) >"${file%.sif}.seconds"
    mv "$cache/images/.partial-$$.sif" "$file"
    say "$what: done in $((SECONDS - start)) s"
}

build() {
    layer "base layer ($SUITE)" "$base" containers/base.def \
        --build-arg BOOTSTRAP="$bootstrap" --build-arg FROM="$from" --build-arg SUITE="$SUITE" --build-arg MIRROR="$mirror" --build-arg INPUTS="$inputs"
    mkdir -p "$cache/build/$wheel_folder"
    [ -z "$wheel" ] || cp "$wheel" "$cache/build/$wheel_folder/"
    [ ! -f "$certificates" ] || cp "$certificates" "$cache/build/certificates.pem"
    # Apptainer splits arguments at commas, unless they are quoted once more.
    layer "image $name" "$image" containers/image.def \
        --build-arg BASE="$base" --build-arg INPUTS="$inputs" --build-arg NAME="$name" --build-arg SUITE="$SUITE" --build-arg MIRROR="$mirror" \
        --build-arg CXX="$CXX" --build-arg "\"CUDA_ARCHS=$CUDA_ARCHS\"" --build-arg WHEEL="$wheel_folder" \
        --build-arg TENSORFLOW="$(version_of 'tensorflow|tensorflow-cpu')" --build-arg HOROVOD="$(version_of horovod)" \
        --build-arg COMMIT="$(git describe --always --abbrev=40 --exclude '*' --dirty 2>/dev/null || echo unknown)" --build-arg LOCK_DIGEST="sha256:$(digest <"$inputs/requirements.txt")" \
        --build-arg INPUTS_DIGEST="sha256:$key"
    find "$cache/images" -name "$name-*" ! -name "$(basename "$image" .sif).*" -delete   # what older inputs gave
}

# Puts image and bill of materials under their final names.
deliver() {
    cp --reflink=auto "$image" "$ready.sif" || die "$out: cannot write $name.sif; check that the folder is writable and has room"
    [ -z "$sign" ] || apptainer sign --key "$sign" "$ready.sif" >/dev/null || die "$sign: Apptainer cannot sign with this key; expected a private key in PEM format"
    apptainer exec --bind "$(realpath "$out")" "$ready.sif" python - "$(realpath "$ready.sif")" "$(realpath "$ready.json")" \
        "name=$name" "lock_digest=sha256:$(digest <"$inputs/requirements.txt")" \
        "inputs_digest=sha256:$key" "built=$(date -u -r "$image" +%FT%TZ)" "architecture=amd64" "debian_suite=$SUITE" "cuda_archs=$CUDA_ARCHS" \
        "horovod_wheel_sha256=$(digest <"$(echo "$cache/build/$wheel_folder"/*.whl)")" "signed=${sign:+yes}" "base_build_seconds=$(cat "${base%.sif}.seconds")" "image_build_seconds=$(cat "${image%.sif}.seconds")" <<'PY'
import hashlib, json, os, sys
sif, out, *pairs = sys.argv[1:]
sha = hashlib.sha256()
with open(sif, "rb") as file:
    while block := file.read(1 << 20):
        sha.update(block)
more = dict(pair.split("=", 1) for pair in pairs)
materials = json.load(open("/opt/bigearth/materials.json"))
more["git_commit"] = json.load(open("/.singularity.d/labels.json"))["org.opencontainers.image.revision"]
with open(out, "w") as file:
    json.dump({"name": more.pop("name"), "digest": materials.pop("digest"), "file_sha256": sha.hexdigest(),
               "file_bytes": os.path.getsize(sif), **more, **materials}, file, indent=1)
    file.write("\n")
PY
    mv "$ready.sif" "$out/$name.sif"; mv "$ready.json" "$out/$name.json"
    say "$out/$name.sif ($(du -m "$out/$name.sif" | cut -f1) MB), $(grep -o '"sha256:[^"]*' "$out/$name.json" | sed 's/"//;1q')"
}

main() {
    read_options "$@"
    [ -z "$verify" ] || exec containers/check.sh "$out/$name.sif" --key "$verify"
    check_host
    gather_inputs
    build
    deliver
}
main "$@"; exit   # on one line: bash has read all of it before a build of half an hour, and a `git pull` meanwhile changes nothing
