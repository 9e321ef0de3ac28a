"""Commands without their seconds of imports: one process imports what burnish needs, and a fork of it becomes the command.

In: what a script says of its call, over a socket. Out: a process of its own with those arguments, that folder, environment and
streams; its exit status. Run as `python forking.py SOCKET`. Plugins are found anew by every command.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import runpy
import select
import signal
import site
import socket
import struct
import sys
from pathlib import Path

CLIENT = """#!{python} -SE
import array, json, os, socket, struct, sys
call = {{"module": {module!r}, "python": {executable!r}, "packages": {packages!r}, "script": sys.argv[0]}}
call |= {{"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
content = json.dumps(call).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    server.sendmsg([struct.pack("<q", len(content))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
    server.sendall(content)
    sys.exit(struct.unpack("<q", server.recv(8))[0])
"""


def write_scripts(folder: Path, address: Path, *modules: str, executable: str = sys.executable, packages: str = "") -> None:
    """`burnish`, `pytest`, ... in `folder`. executable: what they would be run by; packages: a folder of further ones."""
    folder.mkdir(exist_ok=True)
    for module in modules:
        script = folder / module
        told = {"module": module, "executable": executable, "packages": packages, "address": str(address)}
        script.write_text(CLIENT.format(python=os.path.realpath(sys.executable), **told))
        script.chmod(0o755)


def serve(address: str) -> None:
    """Become what is asked for, in forks, until standard input is closed; who asks before all is imported waits."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        import burnish.api  # noqa: F401  what it imports is what is shared

        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while server in select.select([server, sys.stdin], [], [])[0]:
            client, _ = server.accept()
            with client:
                if os.fork() == 0:
                    server.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    attend(client)
                    break


def attend(client: socket.socket) -> None:
    """In a fork: the command in one more, and its status to the client."""
    header, ancillary, *_ = client.recvmsg(8, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    [(_, _, descriptors)] = ancillary
    streams = array.array("i", descriptors)
    [left] = struct.unpack("<q", header)
    content = b""
    while len(content) < left:
        content += client.recv(left - len(content))
    child = os.fork()
    if child:
        for stream in streams:
            os.close(stream)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with contextlib.suppress(BrokenPipeError):
            client.sendall(struct.pack("<q", status if status >= 0 else 128 - status))
        os._exit(0)
    client.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    become(**json.loads(content))


def become(
    module: str, python: str, packages: str, script: str, arguments: list[str], folder: str, environment: dict[str, str]
) -> None:
    """The command, as its own script would be."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [script, *arguments]
    sys.executable = python
    sys.path[0] = str(Path(script).parent)
    if packages:
        site.addsitedir(packages)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve(sys.argv[1])
