"""Files that are whole or not there, and disks that are full."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

BALLAST = 256 * 2**10


def put(path: Path, data: bytes) -> None:
    """Write a file so that under its name there is all of it or nothing, whenever the process is killed."""
    unfinished = path.with_name(f"{path.name}.part")
    try:
        with written(unfinished) as file:
            file.write(data)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file to write that nobody else can read; at the end it is on the disk."""
    path.touch(mode=0o600)
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Let the names of a folder's files outlast a power cut; not every system knows how."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def add_ballast(path: Path) -> None:
    """A file to throw out when the disk is full, for then a database needs room to delete rows, too."""
    if not path.exists():
        try:
            path.write_bytes(os.urandom(BALLAST))
        except OSError:
            path.unlink(missing_ok=True)


def full(error: Exception) -> bool:
    """Whether it says that the disk, or what one may have of it, is full."""
    if isinstance(error, sqlite3.Error):
        return is_code(error, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def damaged(error: BaseException) -> bool:
    """Whether it says that a database is not what it was when it was written."""
    return isinstance(error, sqlite3.Error) and is_code(error, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def damage(what: str) -> sqlite3.Error:
    """An error that says so, for what SQLite itself finds nothing wrong with."""
    error = sqlite3.DatabaseError(what)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def is_code(error: sqlite3.Error, *codes: int) -> bool:
    """Whether SQLite's code is one of these; above the low byte it only says where."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in codes
