"""The jail, from inside: a bare interpreter that shuts itself in and becomes the program. In: a `Jail` as JSON, in its first
argument. Out: the program's output and exit status; or status 125 and a sentence on stderr, when it cannot shut itself in.

Imports nothing but the standard library and its two neighbours. See `sandbox` for the outside.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
from dataclasses import dataclass

from burnish_code import kernel
from burnish_code.filters import MACHINES, Machine, filter_for

CANNOT = 125
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/ld.so.cache")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
SCRATCH = "/tmp"
OWN_PROCESSES = 2  # of the jail itself
UNUSED_UID = 0x70000000  # accounts are numbered from far below


@dataclass(frozen=True)
class Jail:
    """How a program is shut in. isolation: `namespaces` or `landlock`. root: an empty folder. readable: folders beside the
    system's. Limits are per process, apart from `processes`; files live in memory and are limited together. number: told apart
    by it from others that run now."""

    isolation: str
    root: str
    readable: list[str]
    command: list[str]
    memory_bytes: int
    file_bytes: int
    cpu_s: int
    processes: int
    number: int


def main() -> None:
    """Read the jail, enter it, become the program."""
    jail = Jail(**json.loads(sys.argv[1]))
    try:
        kernel.die_with_parent()
        machine = MACHINES.get(platform.machine())
        if machine is None:
            raise OSError(f"system calls of {platform.machine()} are not known here")
        if jail.isolation == "namespaces":
            _by_namespaces(jail, machine)
        else:
            _by_landlock(jail, machine)
    except OSError as error:
        print(error.strerror or error, file=sys.stderr, flush=True)
        os._exit(CANNOT)


def _by_namespaces(jail: Jail, machine: Machine) -> None:
    """Own mounts, processes, network, queues, host name and user; of the system nothing but what is readable, read-only."""
    root, user, group = os.geteuid() == 0, os.geteuid(), os.getegid()
    spaces = kernel.NEW_MOUNTS | kernel.NEW_PIDS | kernel.NEW_NET | kernel.NEW_IPC | kernel.NEW_UTS
    kernel.unshare(spaces if root else spaces | kernel.NEW_USER)
    if not root:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    _furnish(jail)
    kernel.enter_root(jail.root, machine.pivot_root)
    first = os.fork()  # process 1 of the new namespace: when it ends, so does everything in it
    if first:
        _end_like(first)
    kernel.die_with_parent()
    program = os.fork()
    if program:
        _end_like(program)
    os.chdir(SCRATCH)
    _limit(jail)
    if root:
        # An account that nobody has, another for every program, so that the limit of processes counts only its own.
        account = UNUSED_UID + jail.number
        os.setgroups([])
        os.setgid(account)
        os.setuid(account)
    _become(jail, filter_for(machine, processes=True))


def _by_landlock(jail: Jail, machine: Machine) -> None:
    """No namespaces: a program that may read the system and nothing else, write no file, and start no process."""
    os.chdir("/")
    _limit(jail)
    kernel.no_new_privileges()
    readable = [path for path in (*SYSTEM, *jail.readable) if os.path.exists(path)]
    kernel.landlock(readable, [path for path in DEVICES if os.path.exists(path)])
    _become(jail, filter_for(machine, processes=False))


def _furnish(jail: Jail) -> None:
    """A root in memory with the system's folders, the readable ones, some devices and a folder to write to."""
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    options = f"size={jail.file_bytes},nr_inodes=1000,mode=755"
    kernel.mount("tmpfs", jail.root, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)
    for path in (*SYSTEM, *jail.readable):
        target = jail.root + path
        if path in SYSTEM and os.path.islink(path):
            os.symlink(os.readlink(path), target)
        elif os.path.exists(path) and not _covered(path, jail):
            _place(path, target)
            kernel.bind(path, target)
    for path in DEVICES:
        _place(path, jail.root + path)
        kernel.bind(path, jail.root + path, devices=True)
    os.makedirs(jail.root + SCRATCH, exist_ok=True)
    os.chmod(jail.root + SCRATCH, 0o1777)


def _covered(path: str, jail: Jail) -> bool:
    """Whether a folder that is bound before this one holds it."""
    return any(path.startswith(other + "/") for other in (*SYSTEM, *jail.readable) if other != path)


def _place(path: str, target: str) -> None:
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))


def _limit(jail: Jail) -> None:
    limits = {
        resource.RLIMIT_AS: jail.memory_bytes,
        resource.RLIMIT_CPU: jail.cpu_s,
        resource.RLIMIT_FSIZE: jail.file_bytes,
        resource.RLIMIT_NPROC: jail.processes + OWN_PROCESSES,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
    }
    for name, value in limits.items():
        if name != resource.RLIMIT_NPROC or jail.isolation == "namespaces":  # elsewhere it would count the user's own
            highest = resource.getrlimit(name)[1]
            value = value if highest == resource.RLIM_INFINITY else min(value, highest)
            resource.setrlimit(name, (value, value))


def _become(jail: Jail, instructions: bytes) -> None:
    """The program, with nothing but its input and output."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": SCRATCH, "LANG": "C.UTF-8"}
    environment |= {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    silence = os.open(os.devnull, os.O_WRONLY)
    complaints = os.dup(2)
    os.set_inheritable(complaints, False)
    os.dup2(silence, 2)
    os.closerange(complaints + 1, 256)
    kernel.no_new_privileges()
    kernel.drop_capabilities()
    kernel.seccomp(instructions)
    try:
        os.execve(jail.command[0], jail.command, environment)
    except OSError as error:
        os.write(complaints, f"cannot run {jail.command[0]}: {error}".encode())
        os._exit(CANNOT)


def _end_like(child: int) -> None:
    """Wait for a child, and for orphans that end before it; then end as it did."""
    while True:
        process, status = os.wait()
        if process == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
