"""Small file systems that one forked process sees, and nobody else."""

import ctypes
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

PAGE = 4096
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
READ_ONLY = 1


def mount_small_disk(folder: Path, num_bytes: int, flags: int = 0) -> bool:
    """Mounts a file system of this size for this process alone; returns whether that is allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNS if user == 0 else CLONE_NEWNS | CLONE_NEWUSER):
        return False
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    private = 0x4000 | 0x40000  # MS_REC | MS_PRIVATE: nobody else sees the mount
    if libc.mount(b"none", b"/", None, private, None):
        return False
    options = f"size={num_bytes}".encode()
    return not libc.mount(b"tmpfs", bytes(folder), b"tmpfs", flags, options)


def in_fork(action: Callable[[], int]) -> int:
    child = os.fork()
    if child == 0:
        status = 99
        try:
            status = action()
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
