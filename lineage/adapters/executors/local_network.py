"""A process without a network, where there is no sandbox. Standard library only."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # of unshare(2)
_SET_FLAGS, _UP = 0x8914, 0x1


def why_it_cannot() -> str:
    """Why this process cannot leave the network; nothing: it can. Tried in a child, since half of it may be allowed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            why = leave_network()
        except OSError as error:
            why = error.strerror or str(error)
        os.write(writing, why.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as stream:
        why = stream.read()
    os.waitpid(child, 0)
    return why


def leave_network() -> str:
    """Take the network from this process for good; only its own loopback is left. Why it cannot be done, or nothing.

    Raises:
        OSError: It can be done in part only, and was.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare"):
        return "this system has no network namespaces"
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_NEW_NETWORK) != 0:  # root alone may do that
        if libc.unshare(_NEW_USER | _NEW_NETWORK) != 0:
            return os.strerror(ctypes.get_errno() or errno.EPERM)
        for file, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{file}", "w", encoding="ascii") as stream:
                stream.write(text)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14s", b"lo", _UP, b""))
    return ""
