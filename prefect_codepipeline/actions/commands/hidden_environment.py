"""Hide the environment of this process from other processes of the same user, such as the builds that it starts.

Linux shows the variables with which a process was started in `/proc/<pid>/environ`. Here their text is removed after the
start, which also works if everything runs as root, and the process is marked as not dumpable: then other processes
without privileges cannot read its memory, nor its open files in `/proc`.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

# What stays readable, because it says whose process this is.
_KEPT = (b"PREFECT_CODEPIPELINE_HOME",)
# What Python and its libraries need before a process can receive the other variables by a pipe.
_NEEDED = ("PATH", "HOME", "LANG", "TZ", "LD_LIBRARY_PATH", "PREFECT_CODEPIPELINE_HOME")
_NEEDED_PREFIXES = ("PYTHON", "LC_")
_PR_SET_DUMPABLE = 4
# The fields in /proc/<pid>/stat, counted after the program's name: where the variables begin and end in memory.
_BEGIN, _END = 47, 48


def hide_environment() -> None:
    """Hide it, before this process starts any other. The variables in `os.environ` stay."""
    if sys.platform != "linux":
        return
    os.environ.update(dict(os.environ))  # the C library copies each variable out of the old block
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(fields[_BEGIN]), int(fields[_END])
    if begin < end:
        block = ctypes.string_at(begin, end - begin)
        kept = b"".join(each + b"\0" for each in block.split(b"\0") if each.split(b"=")[0] in _KEPT)
        ctypes.memmove(begin, kept.ljust(len(block), b"\0"), len(block))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def visible_environment() -> dict[str, str]:
    """The variables that a new Python process needs at once; it can get the others unseen, by a pipe."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _NEEDED or name.startswith(_NEEDED_PREFIXES)
    }
