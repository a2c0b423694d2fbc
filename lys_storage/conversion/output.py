"""A file or a folder that appears under its name in one step, complete and durable, or not at all.

1. It is written under a temporary name beside its own: `.<16 hex digits>.convert.tmp`.
2. It is synced.
3. It is renamed. Without `overwrite` no file is replaced.
4. The folder is synced.

If a step fails, or is interrupted, the temporary file is removed.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..disk import SYSTEM, File, check_name, publish_new, remove_file, replace_file, sync_folder
from ..errors import ConversionError, LysStorageError, NameTakenError, StorageOSError, os_error

_ZARR = ("zarr.json", ".zgroup", ".zarray")


@contextmanager
def written_in_one_step(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Gives the path to write to. At the end of the block the file or folder there becomes `out`.

    Raises NameTakenError if `out` exists and may not be replaced; a folder is replaced only if it is a Zarr folder.
    """
    check_target(out, overwrite=overwrite)
    beside = out.with_name(f".{secrets.token_hex(8)}.convert.tmp")
    try:
        with naming_the_target(out, beside):
            yield beside
        _sync(beside)
        _publish(beside, out, overwrite)
        sync_folder(out.parent)
    finally:
        _remove(beside)


def check_target(out: Path, *, overwrite: bool) -> None:
    check_name(out)
    try:
        os.lstat(out)
    except FileNotFoundError:
        if not out.parent.is_dir():
            raise os_error(
                "write", out, OSError(errno.ENOENT, f"there is no folder {out.parent}"), "make it first"
            ) from None
        if SYSTEM.name_length(out.name) > SYSTEM.name_limits(out.parent)[0]:  # on Windows nothing has this name
            raise os_error(
                "write", out, OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)), "choose a shorter name"
            ) from None
        return
    except (OSError, ValueError) as error:  # a name that is too long, or has a NUL: found before the work
        reason = error if isinstance(error, OSError) else OSError(errno.EINVAL, str(error))
        raise os_error("write", out, reason) from None
    if not overwrite:
        text = "exists already: give --overwrite (overwrite=True) to replace it, or another name"
        raise NameTakenError(errno.EEXIST, text, os.fspath(out))
    if out.is_dir() and not any((out / name).is_file() for name in _ZARR):
        raise NameTakenError(errno.EEXIST, "is a folder, and not one of Zarr: it is not replaced", os.fspath(out))


@contextmanager
def naming_the_target(out: Path, beside: Path) -> Iterator[None]:
    """Raise an error of a write, or of a package that writes a format, as an error of this package that names `out`."""
    try:
        yield
    except StorageOSError as error:
        if not str(error.filename or "").startswith(os.fspath(beside)):
            raise
        raise os_error("write", out, OSError(error.errno, os.strerror(error.errno or 0))) from error
    except (LysStorageError, MemoryError):
        raise
    except Exception as error:  # a package that writes a format can raise anything
        if isinstance(error, OSError):
            raise os_error("write", out, OSError(error.errno or errno.EIO, str(error))) from error
        raise ConversionError(f"{out} cannot be written: {type(error).__name__}: {error}") from error


def _sync(path: Path) -> None:
    if path.is_dir():
        for entry in path.iterdir():
            _sync(entry)
        sync_folder(path)
        return
    file = File.open(path, writable=True)
    try:
        file.sync()
    finally:
        file.close()


def _publish(beside: Path, out: Path, overwrite: bool) -> None:
    if not beside.is_dir():
        (replace_file if overwrite else publish_new)(beside, out)
        return
    former = beside.with_name(f"{beside.name}.former")
    try:
        if overwrite and os.path.lexists(out):
            replace_file(out, former)  # a folder that is not empty cannot be replaced in one step
        if os.path.lexists(out):
            raise NameTakenError(errno.EEXIST, "exists already", os.fspath(out))
        replace_file(beside, out)
        sync_folder(out.parent)  # before the former one is removed
    finally:
        if os.path.lexists(former):
            if os.path.lexists(out):
                _remove(former)
            else:
                replace_file(former, out)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        with suppress(FileNotFoundError):
            shutil.rmtree(path)
    else:
        remove_file(path)


def make_read_only(path: Path) -> None:
    """Remove the permission to write `path`: what is written to external storage would change the exports."""
    if not SYSTEM.open_files_keep_their_names:  # on Windows a file without it could not be replaced
        os.chmod(path, 0o444)
