"""Files that are written whole or not at all.

Knows bytes and paths; must not know what a file holds.
"""

import os
import time
from contextlib import suppress
from pathlib import Path


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
