"""A Python that has TensorFlow loaded: hundreds of short ranks share two cores here, and loading it
would be most of their work.

    python preloaded.py serve SOCKET         loads TensorFlow and Horovod once; every program then
                                             runs in a fork of this process
    python preloaded.py -m MODULE OPTIONS    what a job starts in place of
                                             `python -m MODULE OPTIONS`

A program has its caller's options, environment, folder, streams and host name, gets its signals,
dies with it, and gives it its exit code. A module that needs no TensorFlow, or that finds no
server, is run by an ordinary Python.
"""

import json
import os
import signal
import socket
import struct
import sys

MODULES = ("benchmarks.train", "benchmarks.preflight")
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
CLONE_NEWUTS = 0x04000000  # sched.h: the name space of the host name


def call(server, arguments: list) -> int:
    """Has the server run a program; returns its exit code, negative for a signal, as `subprocess`
    does."""
    request = json.dumps(
        {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}
    ).encode()
    socket.send_fds(server, [struct.pack("i", len(request))], (0, 1, 2))
    server.sendall(request)
    for number in FORWARDED:
        signal.signal(number, lambda received, _: server.send(bytes([received])))
    answer = server.recv(4)
    return struct.unpack("i", answer)[0] if answer else -signal.SIGKILL


def serve(path: str) -> list:
    """Answers every call in a fork; returns in a fork only: the options of the program that it is
    to become."""
    import gc

    import horovod.tensorflow  # noqa: F401
    import tensorflow

    tensorflow.keras.layers  # noqa: B018  loaded when it is first asked for
    if len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("a library has started threads, which a fork does not have")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel collects the forks
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(256)
    gc.freeze()  # the collector would write to pages that the forks share
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            break
        connection.close()
    listener.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _, _ = socket.recv_fds(connection, 4, 3)
    request = json.loads(connection.recv(struct.unpack("i", length)[0], socket.MSG_WAITALL))
    program = os.fork()
    if program:
        os._exit(attend(connection, program))
    become(connection, streams, request)
    return request["arguments"]


def attend(connection, program: int) -> int:
    """Passes on signals, kills the program if its caller is gone, and reports its exit code."""
    import select

    ended = os.pidfd_open(program)
    while ended not in select.select([connection, ended], [], [])[0]:
        number = connection.recv(1)
        os.kill(program, number[0] if number else signal.SIGKILL)
        if not number:
            return 1
    connection.sendall(struct.pack("i", os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])))
    return 0


def become(connection, streams: list, request: dict) -> None:
    """Takes over the caller's host name, streams, environment and folder."""
    import ctypes

    caller = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[
        0
    ]
    with open(f"/proc/{caller}/ns/uts") as names:
        if ctypes.CDLL(None, use_errno=True).setns(names.fileno(), CLONE_NEWUTS):
            raise OSError(ctypes.get_errno(), "setns")
    connection.close()
    for own, given in enumerate(streams):
        os.dup2(given, own)
        os.close(given)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[:0] = ["", *request["environment"].get("PYTHONPATH", "").split(os.pathsep)]


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] in ([], ["-h"], ["--help"]):
        print(__doc__)
        sys.exit()
    if arguments[0] == "serve":
        arguments = serve(arguments[1])
        import runpy

        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        sys.exit()
    with socket.socket(socket.AF_UNIX) as server:
        try:
            if arguments[1] not in MODULES:
                raise OSError
            server.connect(
                os.path.join(os.path.dirname(os.environ["SLURM_CONF"]), "..", "run", "python.sock")
            )
        except (OSError, KeyError):
            os.execv(sys.executable, [sys.executable, *arguments])
        code = call(server, arguments)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
