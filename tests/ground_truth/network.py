"""Hosts on a network of known speed, on one machine: network namespaces behind a switch, each link
limited by a token bucket.

Needs root. Nothing of it is in the machine's own namespace, so other programs' networks do not see
it, and it goes when the block ends.

Two things made such a network seem slower than it is. Open MPI's rendezvous over TCP has one
connection per pair of hosts, where the request for one direction's data waits behind the other
direction's: half of the rate. `MPI_OPTIONS` has all messages sent eagerly. And packets of 1,500
bytes cost more processor time than two cores have at 500 Mbit/s: links take 60,000.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

NAME = f"bigearth{os.getpid()}"
SUBNET = "10.213.0"
MTU = 60_000
MPI_OPTIONS = {
    "routed": "direct",
    "oob_tcp_if_include": f"{SUBNET}.0/24",
    "btl_tcp_if_include": f"{SUBNET}.0/24",
    "btl": "self,tcp",
    "pml": "ob1",
    "mpi_yield_when_idle": "1",
    "btl_tcp_flags": "1",
    "btl_tcp_eager_limit": "1000000000",
    "btl_tcp_rndv_eager_limit": "1000000000",
    "btl_tcp_max_send_size": "1000000000",
    "btl_tcp_sndbuf": "1000000",  # fits into the bucket's queue: nothing is dropped
    "btl_tcp_rcvbuf": "4000000",
}
AGENT = """#!/bin/sh
# starts a command of Open MPI's on one of the hosts, which has a host name of its own
host={name}-${{1##*.}}; shift
exec ip netns exec $host nice -n -15 unshare --uts sh -c "hostname $host; $*"
"""


def _ip(*words) -> None:
    subprocess.run(["ip", *map(str, words)], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def hosts(count: int, rate: str, folder: Path):
    """Hosts 1 to `count` while the block runs.

    Args:
        rate: of every link in each direction, as `tc` takes it: "100mbit".
        folder: for the program with which Open MPI reaches the hosts.

    Yields:
        run(*python_arguments, timeout=300) -> CompletedProcess: one rank on each host.
    """
    names = [f"{NAME}-{host}" for host in range(1, count + 1)]
    switch = f"{NAME}-switch"
    try:
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "name", "sw0", "type", "bridge")
        _ip("-n", switch, "link", "set", "sw0", "mtu", MTU, "up")
        for host, name in enumerate(names, 1):
            _connect(name, f"{SUBNET}.{host}/24", switch, f"port{host}")
            limit = f"tc qdisc add dev eth0 root tbf rate {rate} burst 128kb limit 8mb"
            _ip("netns", "exec", name, *limit.split())
        agent = folder / "agent.sh"
        agent.write_text(AGENT.format(name=NAME))
        agent.chmod(0o755)
        yield lambda *arguments, timeout=300: _mpirun(names, agent, arguments, timeout)
    finally:
        for name in [*names, switch]:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def _connect(name: str, address: str, switch: str, port: str) -> None:
    _ip("netns", "add", name)
    pair = ["type", "veth", "peer", "name", port, "netns", switch]
    _ip("-n", name, "link", "add", "name", "eth0", *pair)
    _ip("-n", switch, "link", "set", port, "mtu", MTU, "master", "sw0", "up")
    _ip("-n", name, "addr", "add", address, "dev", "eth0")
    _ip("-n", name, "link", "set", "eth0", "mtu", MTU, "up")
    _ip("-n", name, "link", "set", "lo", "up")


def _mpirun(names: list, agent: Path, arguments: tuple, timeout: float):
    settings = {f"OMPI_MCA_{key}": value for key, value in MPI_OPTIONS.items()}
    settings.update(
        OMPI_MCA_plm_rsh_agent=str(agent),
        OMPI_ALLOW_RUN_AS_ROOT="1",
        OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
    )
    everyone = ",".join(f"{SUBNET}.{host}:1" for host in range(1, len(names) + 1))
    # before the machine's other work: the link shall be what is slow, not a busy core
    command = ["nice", "-n", "-15", "ip", "netns", "exec", names[0], "mpirun", "--host", everyone]
    command += ["-np", str(len(names))]
    for key in (*settings, "PYTHONPATH"):  # the daemons on the other hosts know none of ours
        command += ["-x", key]
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [*command, sys.executable, *map(str, arguments)],
        cwd=root,
        env={**os.environ, **settings, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
