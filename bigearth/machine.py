"""What this machine is: processor, memory, clocks, libraries, commands, environment.

One source for the provenance of every record and for `bigearth-bench doctor`. Standard library
only. What cannot be read has no value, and a reason.
"""

import contextlib
import ctypes
import math
import mmap
import os
import platform
import re
import socket
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from bigearth.errors import one_line

CPUS = Path("/sys/devices/system/cpu")
SAMPLED_PAGES = 1024  # of a file, evenly spread, to see how much of it is in the page cache
COMMAND_SECONDS = 10  # that `COMMAND --version` may take
# variables that change speed or results; none that could hold a secret or a name of a person
ENVIRONMENT = re.compile(
    r"(OMP|KMP|GOMP|MKL|OPENBLAS|MALLOC|XLA|HOROVOD|NCCL|RCCL|OMPI_MCA|PMIX_MCA|UCX|FI)_\w+"
    r"|TF_(CPP|ENABLE|XLA|GPU|FORCE|NUM|CUDNN|USE|DETERMINISTIC)_\w+"
    r"|(CUDA|HIP|ROCR)_VISIBLE_DEVICES|BIGEARTH_(SYSTEM|IMAGE|IMAGE_DIGEST)|TZ|LD_PRELOAD"
    r"|HDF5_USE_FILE_LOCKING|PYTHONNOUSERSITE|PMIX_VERSION"
    r"|SLURM_(JOB_PARTITION|JOB_NUM_NODES|NTASKS_PER_NODE|CPUS_PER_TASK|CPU_BIND|DISTRIBUTION"
    r"|THREADS_PER_CORE|HINT|MPI_TYPE)"
)
SECRET = re.compile(r"SECRET|TOKEN|PASSW|CREDENTIAL|PRIVATE|API_?KEY|_KEY$")
# library -> (part of its file's name, function that gives its version, packages that bring it)
CUDA_LIBRARIES = {
    "cuda": ("libcudart", "cudaRuntimeGetVersion", "nvidia-cuda-runtime"),
    "cudnn": ("libcudnn", "cudnnGetVersion", "nvidia-cudnn"),
    "nccl": ("libnccl", "ncclGetVersion", "nvidia-nccl"),
}


class Fact(NamedTuple):
    """Something known of the machine.

    Attributes:
        value: text, number, list or dictionary; None if it could not be read.
        why: the reason, if it could not.
    """

    value: object
    why: str = ""


def facts(data=None) -> dict:
    """Everything, in the order in which it is shown: name -> Fact.

    Args:
        data: a file or folder whose file system counts; by default the current folder.
    """
    return {
        "host": Fact(socket.gethostname()),
        "kernel": Fact(platform.release()),
        "processor": processor(),
        "cores": Fact(node_cores()),
        "cores_allowed": Fact(ranges(os.sched_getaffinity(0))),
        "governor": _text(CPUS / "cpu0" / "cpufreq" / "scaling_governor"),
        "clock_mhz": clock(),
        "memory_gb": Fact(round(memory() / 1e9, 2)),
        "numa_nodes": _text(CPUS.parent / "node" / "online"),
        "time_zone": Fact(time.strftime("%Z %z")),
        "file_system": file_system(data or os.curdir),
        "driver": driver(),
        **{name: cuda_library(name) for name in CUDA_LIBRARIES},
        "rocm": _text(Path("/opt/rocm/.info/version")),
        "mpirun": command("mpirun"),
        "pmix": pmix(),
        "apptainer": container_engine(),
        "slurm": command("sinfo"),
        "environment": Fact(environment(os.environ)),
    }


def _text(path: Path) -> Fact:
    """The content of a small file of the kernel's or the system's."""
    try:
        return Fact(one_line(path.read_text()))
    except (OSError, UnicodeDecodeError) as error:
        return Fact(None, f"{path}: {getattr(error, 'strerror', None) or error}")


def processor() -> Fact:
    """The processor's name; on architectures that do not say it, the architecture's."""
    path = Path("/proc/cpuinfo")
    try:
        found = re.search(r"^model name\s*:\s*(.*)$", path.read_text(), re.MULTILINE)
    except OSError as error:
        return Fact(None, f"{path}: {error.strerror}")
    return Fact(one_line(found.group(1)) if found else platform.machine())


def node_cores(tree: Path = CPUS) -> dict:
    """How many sockets, cores and threads of the node are switched on, whoever may use them."""
    threads = os.sysconf("SC_NPROCESSORS_ONLN")

    def distinct(name: str) -> int:
        return len({file.read_text() for file in tree.glob(f"cpu[0-9]*/topology/{name}")})

    return {
        "sockets": distinct("physical_package_id") or None,
        "cores": distinct("thread_siblings_list") or threads,
        "threads": threads,
    }


def ranges(numbers) -> str:
    """Numbers as the kernel writes them, e.g. "0-3,8"."""
    runs = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def clock() -> Fact:
    """MHz of the first core: now, and the least and most that the governor may choose."""
    folder = CPUS / "cpu0" / "cpufreq"
    files = {"now": "scaling_cur_freq", "least": "scaling_min_freq", "most": "scaling_max_freq"}
    try:
        return Fact({key: int((folder / name).read_text()) / 1e3 for key, name in files.items()})
    except (OSError, ValueError):
        pass  # a virtual machine: the kernel knows one clock at best
    with contextlib.suppress(OSError):
        found = re.search(r"^cpu MHz\s*:\s*([\d.]+)", Path("/proc/cpuinfo").read_text(), re.M)
        if found:
            return Fact({"now": float(found.group(1))})
    return Fact(None, f"neither {folder} nor /proc/cpuinfo says it")


def memory() -> float:
    """Bytes that this process may use."""
    return min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), memory_limit())


def memory_limit(groups=Path("/proc/self/cgroup"), tree=Path("/sys/fs/cgroup")) -> float:
    """Bytes that this process's control groups (version 1 or 2) allow it; infinity without a limit.

    Slurm and container engines limit a job's memory here, in a group that may lie above the
    process's own.
    """
    limits = [math.inf]
    for line in groups.read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, name = (
            (tree / "memory", "memory.limit_in_bytes") if controllers else (tree, "memory.max")
        )
        own = Path(group.lstrip("/"))
        files = [top / folder / name for folder in (own, *own.parents)]
        texts = [file.read_text().strip() for file in files if file.is_file()]
        limits += [int(text) for text in texts if text.isdigit()]
    return min(limits)


def file_system(path, table: Path = Path("/proc/self/mountinfo")) -> Fact:
    """The file system that a file or folder lies on.

    Returns:
        {"type": e.g. "lustre", "mount": where it is mounted}.
    """
    try:
        mounts = [line.split(" - ", 1) for line in table.read_text().splitlines()]
        place = Path(os.path.realpath(path))
        found = None
        for before, after in mounts:
            mount = re.sub(r"\\(\d{3})", lambda m: chr(int(m.group(1), 8)), before.split()[4])
            # of mounts on one place, the last is on top
            if Path(mount) in (place, *place.parents) and len(mount) >= len(found or ""):
                found, kind = mount, after.split()[0]
        return Fact({"type": kind, "mount": found}) if found else Fact(None, f"{path}: no mount")
    except (OSError, ValueError, IndexError) as error:
        return Fact(None, f"{table}: {error}")


def cached_share(path) -> Fact:
    """How much of a file is in the page cache: 0 to 1, from pages that are evenly spread."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE) as view:
            owner = os.fstat(file.fileno()).st_uid == os.geteuid()
            if not (owner or os.access(path, os.W_OK)):  # to others all of it seems to be there
                return Fact(None, f"{path}: Linux tells only its owner")
            first = ctypes.c_char.from_buffer(view)
            start, flag = ctypes.addressof(first), ctypes.create_string_buffer(1)
            pages = math.ceil(len(view) / mmap.PAGESIZE)
            chosen = range(0, pages, math.ceil(pages / SAMPLED_PAGES))
            cached = 0
            for page in chosen:
                address = ctypes.c_void_p(start + page * mmap.PAGESIZE)
                if ctypes.CDLL(None).mincore(address, ctypes.c_size_t(1), flag):
                    return Fact(None, f"{path}: the kernel does not tell")
                cached += flag.raw[0] & 1
            del first  # the map cannot be closed before
        return Fact(cached / len(chosen))
    except (OSError, ValueError) as error:
        return Fact(None, f"{path}: {getattr(error, 'strerror', None) or error}")


def driver() -> Fact:
    """The version of the GPU's kernel driver, NVIDIA's or AMD's."""
    for path in (Path("/proc/driver/nvidia/version"), Path("/sys/module/amdgpu/version")):
        with contextlib.suppress(OSError):
            text = path.read_text()
            found = re.search(r"Kernel Module.*?\s(\d+\.\d+[.\d]*)", text)
            return Fact(found.group(1) if found else one_line(text))
    return Fact(None, "neither NVIDIA's nor AMD's driver is loaded")


def cuda_library(name: str) -> Fact:
    """The version of "cuda", "cudnn" or "nccl": of the library that this process has loaded, else
    of the installed package."""
    part, function, package = CUDA_LIBRARIES[name]
    with contextlib.suppress(OSError, AttributeError):
        files = re.findall(rf"(/\S*{part}\.so\S*)$", Path("/proc/self/maps").read_text(), re.M)
        if files:
            return Fact(decode(name, _ask_version(getattr(ctypes.CDLL(files[0]), function), name)))
    for suffix in ("-cu12", "-cu11", "-cu13", ""):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return Fact(f"{metadata.version(package + suffix)} (installed, not loaded)")
    return Fact(None, f"no {part} is loaded and no package {package} installed")


def _ask_version(function, name: str) -> int:
    if name == "cudnn":
        function.restype = ctypes.c_size_t
        return function()
    number = ctypes.c_int()
    function(ctypes.byref(number))
    return number.value


def decode(name: str, number: int) -> str:
    """A library's version from the number that it gives, e.g. 21605 -> "2.16.5" of NCCL."""
    if name == "cuda":
        return f"{number // 1000}.{number % 1000 // 10}"
    scale = (
        1000 if number < 10000 else 10000
    )  # cuDNN before 9 and NCCL before 2.9 have one zero less
    return f"{number // scale}.{number % scale // 100}.{number % 100}"


def command(name: str) -> Fact:
    """The first line of `NAME --version`."""
    try:
        done = subprocess.run(
            [name, "--version"], capture_output=True, text=True, timeout=COMMAND_SECONDS
        )
    except FileNotFoundError:
        return Fact(None, f"there is no `{name}` on the PATH")
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return Fact(None, f"`{name} --version`: {one_line(error)}")
    lines = (done.stdout or done.stderr).strip().splitlines() or [""]
    if done.returncode:
        return Fact(None, f"`{name} --version` failed: {one_line(lines[-1])}")
    return Fact(one_line(lines[0]))


def pmix() -> Fact:
    """The version of PMIx that the launcher speaks; known in a job only."""
    version = os.environ.get("PMIX_VERSION")
    return Fact(version) if version else Fact(None, "no launcher with PMIx started this process")


def container_engine() -> Fact:
    """The version of Apptainer or Singularity; in a container, that this is one."""
    for name in ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"):
        if os.environ.get(name):
            return Fact(f"inside {one_line(os.environ[name])}")
    apptainer = command("apptainer")
    singularity = command("singularity") if apptainer.value is None else apptainer
    return apptainer if singularity.value is None else singularity


def environment(variables) -> dict:
    """Of environment variables, those that change speed or results (a whitelist)."""
    return {
        name: one_line(variables[name])
        for name in sorted(variables)
        if ENVIRONMENT.fullmatch(name) and not SECRET.search(name)
    }
