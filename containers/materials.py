"""Writes an image's bill of materials, from inside it: python materials.py OUT.json

{"digest": SHA-256 over the path, the kind, the mode and the content of every file of the image,
 "files": how many, "bytes": how much, "debian": {package: version}, "python": {distribution:
 version}}

The digest names what is in the image, so that an image can carry its own; two builds of the same
inputs have the same one, though their SIF files differ by dates. Left out is what the build or a
start of the image writes: logs, caches, byte code.
"""

import hashlib
import json
import os
import stat
import subprocess
import sys
from importlib import metadata

SKIPPED = {
    "/.singularity.d",
    "/dev",
    "/mnt",
    "/proc",
    "/run",
    "/sys",
    "/tmp",
    "/var/cache",
    "/var/log",
    "/var/tmp",
    "/var/lib/apt",
    "/root",
}
WRITTEN_AT_START = {
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/localtime",
    "/etc/passwd",
    "/etc/group",
    "/etc/machine-id",
}
DATED = {
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/ld.so.cache",
}


def entries():
    """Every file and link that the digest covers, in the order of their paths."""
    for folder, folders, files in os.walk("/"):
        folders[:] = sorted(
            f for f in folders if os.path.join(folder, f) not in SKIPPED and f != "__pycache__"
        )
        links = [f for f in folders if os.path.islink(os.path.join(folder, f))]
        for name in sorted(files + links):
            path = os.path.join(folder, name)
            if path not in WRITTEN_AT_START | DATED:
                yield path


def contents(out: str) -> dict:
    """The digest, the number of files and their bytes."""
    digest, count, size = hashlib.sha256(), 0, 0
    for path in entries():
        status = os.lstat(path)
        if path == out or not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            continue
        digest.update(
            f"{path}\0{stat.S_IFMT(status.st_mode)}\0{stat.S_IMODE(status.st_mode)}\0".encode()
        )
        if stat.S_ISLNK(status.st_mode):
            digest.update(os.readlink(path).encode())
        else:
            inner = hashlib.sha256()
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    inner.update(block)
            digest.update(inner.digest())
            size += status.st_size
        count += 1
    return {"digest": f"sha256:{digest.hexdigest()}", "files": count, "bytes": size}


def debian() -> dict:
    listing = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${Version}\n"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return dict(line.split() for line in listing.splitlines())


if __name__ == "__main__":
    out = os.path.abspath(sys.argv[1])
    packages = {d.metadata["Name"]: d.version for d in metadata.distributions()}
    with open(out, "w") as file:
        json.dump(
            {**contents(out), "debian": debian(), "python": dict(sorted(packages.items()))},
            file,
            indent=1,
        )
        file.write("\n")
