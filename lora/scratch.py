"""Temporary folders that are gone when their process is, however it ends."""

import atexit
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows: nothing is locked there, so nothing is swept.
    fcntl = None


def scratch_folder(purpose: str) -> Path:
    """A new folder that only this user can read, locked for as long as this process lives, and deleted at its end.

    Those of the same purpose that killed processes have left are deleted first.
    """
    place, prefix = Path(tempfile.gettempdir()), f"atelier-{purpose}-"
    # A cleaner may have taken even that.
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(place, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # Where it cannot be locked, nobody else can lock it either and take it for one that was left.
    with suppress(OSError):
        _lock(folder)
    return folder


def _lock(folder: Path) -> int:
    """Lock a folder; closing the handle, or the end of the process, unlocks it. Raises OSError where it is locked.

    The folder itself, not a file in it: a cleaner of the system could take that, and systemd's leaves locked folders.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        if fcntl:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


def _sweep(place: Path, prefix: str) -> None:
    """Delete this user's folders there whose process has ended without doing so."""
    for folder in place.glob(f"{prefix}*") if fcntl else ():
        with suppress(OSError):
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                continue
            handle = _lock(folder)
            try:
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)
