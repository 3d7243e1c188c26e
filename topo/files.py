"""Files that are written whole or not at all.

Knows bytes and paths; must not know what a file holds.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where processes are not kept from each other
    fcntl = None  # type: ignore[assignment]


def check_folder(out: str | Path) -> Path:
    """The folder `out`, if files can be written into it; it need not be there yet. Nothing is made.

    Raises NotADirectoryError where it, or what it would lie in, is a file; PermissionError where that is not writable.
    """
    out = Path(out).expanduser()
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"nothing can be written into {out}: {there} is a file, not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"nothing can be written into {out}: {there} is not writable")
    return out


def brief(name: str, whole: str, most: int = 120) -> str:
    """A name of `most` characters at most that differs for other `whole`: the beginning of `name`, and a checksum."""
    return f"{name[: most - 9]}-{hashlib.sha256(whole.encode(errors='surrogateescape')).hexdigest()[:8]}"


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write bytes to `path` so that it holds either the old content or all of the new, even after a power cut.

    Folders that are missing are made. Raises OSError, naming `path`, where it cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    for left in path.parent.glob(f".{path.name}.*.part"):  # left by a process that was killed
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > 3600:
                left.unlink()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        why = error.strerror or error
        raise type(error)(f"{path} could not be written ({why}); what it held before is still there") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def replace_folder(out: Path, made: Path) -> None:
    """Put the folder `made` into the place of `out`, which is missing only between two renamings."""
    new, old = (out.with_name(f".{out.name}.{which}") for which in ("new", "old"))
    out.parent.mkdir(parents=True, exist_ok=True)
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    shutil.move(made, new)
    if out.exists():
        out.rename(old)
    new.rename(out)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def locked(path: str | Path, waiting: Callable[[], object] = lambda: None) -> Iterator[FileIO]:
    """Have the file `path`, open for appending, for this process alone; it is made where it is not there.

    While another process has it, `waiting` is called once and this one waits. Whoever has it may rename or delete it.
    It is free again when its process ends, however that happens. Raises OSError where it cannot be written.
    """
    while True:
        with open(path, "ab", buffering=0) as stream:
            if fcntl is not None:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    waiting()
                    waiting = lambda: None
                    fcntl.flock(stream, fcntl.LOCK_EX)
            there = None
            with suppress(FileNotFoundError):
                there = os.stat(path)
            if there and os.path.samestat(there, os.fstat(stream.fileno())):  # else it was renamed meanwhile
                yield stream
                return
