"""Landlock: the second wall, which holds where a filter of system calls has a gap.

Rule: everything that the running kernel's Landlock can deny is denied; what is given back is reading below named
directories, while libraries are imported. Rulesets stack, so a later empty one takes that away again. Landlock does not
cover UDP, nor looking at a path's metadata: the filters must.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from safeload.sandbox.kernel.machine import syscall

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["landlock_version", "restrict_files"]

_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
# linux/landlock.h: what each version can deny, from the first on.
_FILES_V1 = (1 << 13) - 1
_REFER_V2, _TRUNCATE_V3, _IOCTL_DEVICE_V5 = 1 << 13, 1 << 14, 1 << 15
_TCP_V4 = 3  # bind and connect
_SCOPES_V6 = 3  # abstract Unix sockets and signals


def landlock_version() -> int:
    """The version of the kernel's Landlock.

    Raises:
        OSError: the kernel has none, or it is switched off.
    """
    return syscall("landlock_create_ruleset", 0, 0, _VERSION_FLAG)


def restrict_files(readable: Iterable[str] = ()) -> int:
    """Deny this process every file, TCP, abstract sockets and signals to others, except reading below ``readable``.

    Returns:
        Landlock's version.

    Raises:
        OSError: the kernel has no Landlock, or refused.
    """
    version = landlock_version()
    files = _FILES_V1
    for since, right in ((2, _REFER_V2), (3, _TRUNCATE_V3), (5, _IOCTL_DEVICE_V5)):
        files |= right if version >= since else 0
    attributes = struct.pack("=QQQ", files, _TCP_V4 if version >= 4 else 0, _SCOPES_V6 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = syscall("landlock_create_ruleset", ctypes.c_char_p(attributes), size, 0)
    try:
        for path in readable:
            _permit(ruleset, path)
        syscall("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def _permit(ruleset: int, path: str) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # an entry of sys.path that does not exist
    try:
        right = _READ_FILE | (_READ_DIR if Path(path).is_dir() else 0)
        rule = struct.pack("=Qi", right, descriptor)
        syscall("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, ctypes.c_char_p(rule), 0)
    finally:
        os.close(descriptor)
