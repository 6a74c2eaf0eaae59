"""No network for this process and all that it starts, from the moment at which nothing more is to be fetched.

On Linux a seccomp filter, which needs no privilege, holds for every thread and cannot be taken off again: a socket can
only be of the kinds that stay on this machine (Unix, netlink). The ways around it are shut as well: io_uring, whose
sockets no filter sees, other processes' memory and descriptors, and the other instruction sets of the processor.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass

#: Set by the runner: this child is to leave the network once it has what it needs.
SECLUDE_ENV = "TUNEDECK_SECLUDE"

_AF_UNIX, _AF_NETLINK = 1, 16
_PR_SET_NO_NEW_PRIVS = 38
_SET_FILTER, _ALL_THREADS = 1, 1
#: Offsets in `struct seccomp_data`.
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16
#: Numbers from here on are calls of x86's third instruction set, x32.
_X32 = 0x40000000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000


@dataclass(frozen=True)
class _Machine:
    """What the calls are numbered. `refused`: ptrace, process_vm_readv and _writev, io_uring_setup, pidfd_getfd."""

    arch: int
    seccomp: int
    socket: int
    refused: tuple[int, ...]


_MACHINES = {
    "x86_64": _Machine(0xC000003E, 317, 41, (101, 310, 311, 425, 438)),
    "aarch64": _Machine(0xC00000B7, 277, 198, (117, 270, 271, 425, 438)),
}


class _Step(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.POINTER(_Step)))


def leave_network() -> str:
    """Shut the network off for good; why that could not be done, or an empty string."""
    machine = _MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None:
        return f"there is no way to do that on {platform.system()} ({platform.machine()})"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return f"the kernel refused: {os.strerror(ctypes.get_errno())}"
    steps = _steps(machine)
    program = _Program(len(steps), (_Step * len(steps))(*steps))
    code = libc.syscall(machine.seccomp, _SET_FILTER, _ALL_THREADS, ctypes.byref(program))
    if code:  # above 0: the number of a thread that has a filter of its own
        return f"the kernel refused: {os.strerror(ctypes.get_errno()) if code < 0 else 'a thread has another filter'}"
    _drop_open_sockets()
    return ""


def _steps(machine: _Machine) -> list[_Step]:
    """The filter: where a step compares, it jumps over so many of the next ones."""
    refuse, no_socket = _Step(_RETURN, 0, 0, _REFUSE | errno.EPERM), _Step(_RETURN, 0, 0, _REFUSE | errno.EACCES)
    steps = [
        _Step(_LOAD, 0, 0, _ARCH),
        _Step(_EQUAL, 1, 0, machine.arch),
        refuse,
        _Step(_LOAD, 0, 0, _NUMBER),
        _Step(_AT_LEAST, 0, 1, _X32),
        refuse,
    ]
    for number in machine.refused:
        steps += [_Step(_EQUAL, 0, 1, number), refuse]
    return [
        *steps,
        _Step(_EQUAL, 0, 4, machine.socket),
        _Step(_LOAD, 0, 0, _FIRST_ARGUMENT),
        _Step(_EQUAL, 2, 0, _AF_UNIX),
        _Step(_EQUAL, 1, 0, _AF_NETLINK),
        no_socket,
        _Step(_RETURN, 0, 0, _ALLOW),
    ]


def _drop_open_sockets() -> None:
    """What a download left open, pooled connections above all, becomes `/dev/null` under its number."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not paths
        with suppress(OSError):  # the listing's own descriptor is gone by now
            if _reaches_out(int(name)):
                os.dup2(nowhere, int(name))
    os.close(nowhere)


def _reaches_out(fd: int) -> bool:
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return False
    with socket.socket(fileno=os.dup(fd)) as copy:
        return copy.family not in (_AF_UNIX, _AF_NETLINK)
