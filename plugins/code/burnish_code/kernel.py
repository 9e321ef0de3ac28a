"""The calls of the Linux kernel that a jail is made of. In: plain values. Out: nothing, or an OSError with what was tried.

Imports nothing but the standard library: it is used by a bare interpreter, before the program that it jails.
"""

from __future__ import annotations

import ctypes
import os

LIBC = ctypes.CDLL(None, use_errno=True)

NEW_MOUNTS, NEW_UTS, NEW_IPC, NEW_USER, NEW_PIDS, NEW_NET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
SIGKILL = 9
CAPABILITIES_VERSION = 0x20080522

SYS_MOUNT_SETATTR = 442  # the same on every architecture, as all calls since Linux 5
AT_RECURSIVE = 0x8000
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4

SYS_LANDLOCK_CREATE, SYS_LANDLOCK_ADD, SYS_LANDLOCK_RESTRICT = 444, 445, 446
LANDLOCK_VERSION = 1
LANDLOCK_PATH_BENEATH = 1
FS_EXECUTE, FS_WRITE_FILE, FS_READ_FILE, FS_READ_DIR = 1, 2, 4, 8
FS_RIGHTS = {3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All rights over files that each version of Landlock knows; later versions know those of the fifth. Those before let any file
be emptied."""
NET_RIGHTS = 3  # bind and connect TCP; from version 4
SCOPES = 3  # abstract sockets and signals; from version 6


def syscall(what: str, number: int, *arguments: object) -> int:
    """A call by its number; OSError when it fails."""
    return _done(what, LIBC.syscall(ctypes.c_long(number), *arguments))


def prctl(what: str, option: int, *arguments: object) -> None:
    """One of the many things that prctl does."""
    padded = [*arguments, *[ctypes.c_ulong(0)] * (4 - len(arguments))]
    _done(what, LIBC.prctl(option, *padded))


def die_with_parent() -> None:
    """Be killed when the process that started this one ends."""
    prctl("follow the parent's death", PR_SET_PDEATHSIG, ctypes.c_ulong(SIGKILL))


def no_new_privileges() -> None:
    """Nothing that is run from here on gains rights by being set-uid or by file capabilities."""
    prctl("give up new privileges", PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1))


def drop_capabilities() -> None:
    """Give up all. Where there are no new privileges, none comes back: neither root's nor one that was to be inherited."""
    header, none = (ctypes.c_uint32 * 2)(CAPABILITIES_VERSION, 0), (ctypes.c_uint32 * 6)()
    _done("give up capabilities", LIBC.capset(header, none))


def unshare(flags: int) -> None:
    """Namespaces of its own for this process, or for its children."""
    _done("make namespaces", LIBC.unshare(flags))


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    done = LIBC.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _done(f"mount {source} on {target}", done)


def bind(source: str, target: str, *, devices: bool = False) -> None:
    """Show `source`, and all that is mounted under it, at `target`, not to be written to. devices: whether they work."""
    mount(source, target, flags=MS_BIND | MS_REC)
    attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | (0 if devices else MOUNT_ATTR_NODEV)
    values = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    here = ctypes.c_int(-100)
    flags, size = ctypes.c_uint(AT_RECURSIVE), ctypes.c_size_t(ctypes.sizeof(values))
    syscall(f"make {target} read-only", SYS_MOUNT_SETATTR, here, target.encode(), flags, ctypes.byref(values), size)


def enter_root(root: str, pivot_root: int) -> None:
    """Make `root`, a mount point, all that there is. pivot_root: the number of that call."""
    os.chdir(root)
    syscall(f"make {root} the root", pivot_root, b".", b".")
    _done("leave the old root", LIBC.umount2(b".", MNT_DETACH))
    os.chdir("/")


def landlock_version() -> int:
    """Which Landlock the kernel has; OSError when it has none."""
    return syscall("ask for Landlock", SYS_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(LANDLOCK_VERSION))


def landlock(readable: list[str], devices: list[str]) -> None:
    """From here on only `readable` can be read and run from, and only `devices` written to; no TCP, if it knows of it."""
    version = landlock_version()
    if version < min(FS_RIGHTS):
        raise OSError(f"Landlock {version} of this kernel lets files be emptied; it takes Linux 6.2")
    rights = FS_RIGHTS[min(version, max(FS_RIGHTS))]
    ruleset = (ctypes.c_uint64 * 3)(rights, NET_RIGHTS if version >= 4 else 0, SCOPES if version >= 6 else 0)
    size = ctypes.c_size_t(24 if version >= 6 else 16 if version >= 4 else 8)
    descriptor = syscall("make a Landlock ruleset", SYS_LANDLOCK_CREATE, ctypes.byref(ruleset), size, ctypes.c_uint(0))
    for path in readable:
        folder = os.path.isdir(path)
        _allow(descriptor, path, FS_READ_FILE | FS_EXECUTE | (FS_READ_DIR if folder else 0))
    for path in devices:
        _allow(descriptor, path, FS_READ_FILE | FS_WRITE_FILE)
    syscall("enter Landlock", SYS_LANDLOCK_RESTRICT, ctypes.c_int(descriptor), ctypes.c_uint(0))
    os.close(descriptor)


def seccomp(program: bytes) -> None:
    """Filter every system call from here on. program: instructions of eight bytes each."""
    held = ctypes.create_string_buffer(program, len(program))
    header = _Program(len(program) // 8, ctypes.cast(held, ctypes.c_void_p))
    prctl("filter system calls", PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.byref(header))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def _allow(ruleset: int, path: str, rights: int) -> None:
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = ctypes.byref(_Beneath(rights, parent))
    kind, flags = ctypes.c_int(LANDLOCK_PATH_BENEATH), ctypes.c_uint(0)
    syscall(f"allow {path}", SYS_LANDLOCK_ADD, ctypes.c_int(ruleset), kind, rule, flags)
    os.close(parent)


def _done(what: str, result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot {what}: {os.strerror(number)}")
    return result
