"""Filters of system calls, as instructions for the kernel's own small machine. In: whether processes may be made. Out: bytes.

Imports nothing but the standard library.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, FAIL, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # where they stand in what the kernel shows a filter
X32 = 0x40000000  # calls of another convention on x86-64 begin here
THREAD = 0x10000  # flag of clone: a thread, not a process
NAMESPACES = 0x7E020000  # flags of clone that make any namespace
SIGNALS_TO = (8, 10, 15)  # what fcntl is told to send signals to a process, and which
OWNERS = (0x8901, 0x8902)  # and what ioctl is told, of sockets


@dataclass(frozen=True)
class Machine:
    """Numbers of system calls on a kind of processor. forbidden: never allowed. alone: beside these when the program shares
    processes and files with others. clone takes its flags as first argument; clone3 hides them."""

    architecture: int
    clone: int
    forks: tuple[int, ...]
    pivot_root: int
    forbidden: tuple[int, ...]
    alone: tuple[int, ...]
    prlimit: int
    fcntl: int
    ioctl: int


# Calls since Linux 5 have the same number everywhere: io_uring_setup, pidfd_send_signal, the new calls for mounts, pidfd_open,
# pidfd_getfd, mount_setattr, memfd_secret.
NEWER = (425, 424, 428, 429, 430, 431, 432, 433, 434, 438, 442, 447)
NEWER_ALONE = (452, 463, 466, 469)  # fchmodat2, setxattrat, removexattrat, file_setattr
CLONE3 = 435
MACHINES = {
    "x86_64": Machine(
        0xC000003E,
        clone=56,
        forks=(57, 58),
        pivot_root=155,
        # socket, ptrace, mount, umount2, pivot_root, chroot, unshare, setns, keyctl, add_key, request_key, bpf,
        # perf_event_open, userfaultfd, process_vm_readv, process_vm_writev, open_by_handle_at, init_module, finit_module,
        # kexec_load; and what holds memory that no limit counts: shmget, shmat, shmctl, semget, semop, semctl, semtimedop,
        # msgget, msgsnd, msgrcv, msgctl, mq_open, mq_unlink, memfd_create, vmsplice
        forbidden=(
            *(41, 101, 165, 166, 155, 161, 272, 308, 250, 248, 249, 321, 298, 323, 310, 311, 304, 175, 313, 246),
            *(29, 30, 31, 64, 65, 66, 220, 68, 69, 70, 71, 240, 241, 319, 278),
        ),
        # kill, tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo, setpriority, ioprio_set, sched_setparam, sched_setscheduler,
        # sched_setaffinity, sched_setattr; and what Landlock does not see: chmod, fchmod, fchmodat, chown, fchown, lchown,
        # fchownat, utime, utimes, futimesat, utimensat, setxattr, lsetxattr, fsetxattr, removexattr, lremovexattr,
        # fremovexattr, inotify_add_watch
        alone=(
            *(62, 200, 234, 129, 297, 141, 251, 142, 144, 203, 314),
            *(90, 91, 268, 92, 93, 94, 260, 132, 235, 261, 280, 188, 189, 190, 197, 198, 199, 254),
        ),
        prlimit=302,
        fcntl=72,
        ioctl=16,
    ),
    "aarch64": Machine(
        0xC00000B7,
        clone=220,
        forks=(),
        pivot_root=41,
        forbidden=(
            *(198, 117, 40, 39, 41, 51, 97, 268, 219, 217, 218, 280, 241, 282, 270, 271, 265, 105, 273, 104),
            *(194, 196, 195, 190, 193, 191, 192, 186, 189, 188, 187, 180, 181, 279, 75),
        ),
        alone=(
            *(129, 130, 131, 138, 240, 140, 30, 118, 119, 122, 274),
            *(52, 53, 54, 55, 88, 5, 6, 7, 14, 15, 16, 27),
        ),
        prlimit=261,
        fcntl=25,
        ioctl=29,
    ),
}


def filter_for(machine: Machine, *, processes: bool) -> bytes:
    """Instructions that refuse dangerous calls. processes: whether the program may make some, being alone with them."""
    forbidden = (*machine.forbidden, *NEWER)
    if not processes:
        forbidden += (*machine.forks, *machine.alone, *NEWER_ALONE)
    refuse = _step(RETURN, FAIL | errno.EPERM)
    allow = _step(RETURN, ALLOW)
    steps = [
        _step(LOAD, ARCHITECTURE),
        _step(EQUAL, machine.architecture, skip_if=1),
        _step(RETURN, KILL),
        _step(LOAD, NUMBER),
        _step(AT_LEAST, X32, skip_unless=1),
        refuse,
        # The C library takes this answer for an old kernel and calls clone, whose flags can be read.
        _step(EQUAL, CLONE3, skip_unless=1),
        _step(RETURN, FAIL | errno.ENOSYS),
    ]
    for number in forbidden:
        steps += [_step(EQUAL, number, skip_unless=1), refuse]
    flags = _step(ANY_BIT, NAMESPACES, skip_unless=1) if processes else _step(ANY_BIT, THREAD, skip_if=1)
    steps += [_step(EQUAL, machine.clone, skip_unless=4), _step(LOAD, ARGUMENTS), flags, refuse, allow]
    if not processes:  # limits of other processes, named by their id; 0 is the caller
        itself = _step(EQUAL, 0, skip_if=1)
        steps += [_step(EQUAL, machine.prlimit, skip_unless=4), _step(LOAD, ARGUMENTS), itself, refuse, allow]
        for number, commands in ((machine.fcntl, SIGNALS_TO), (machine.ioctl, OWNERS)):
            told = [step for command in commands for step in (_step(EQUAL, command, skip_unless=1), refuse)]
            steps += [_step(EQUAL, number, skip_unless=len(told) + 2), _step(LOAD, ARGUMENTS + 8), *told, allow]
    return b"".join([*steps, allow])


def _step(code: int, value: int, *, skip_if: int = 0, skip_unless: int = 0) -> bytes:
    return struct.pack("=HBBI", code, skip_if, skip_unless, value)
