"""Which chapters need not be executed again, because nothing that they depend on has changed.

Knows files, modules and checksums; must not know how a chapter is executed. It is imported before a chapter begins,
so it imports nothing but the standard library.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent
_MANIFEST = "MANIFEST.json"  # what is read of it is noted by `topo.inventory`, entry by entry
_watching: list[Callable[[str, str], None]] = []


def watch(trace: str | Path, inside: Iterable[str | Path]) -> None:
    """From now on, write into the file `trace` which modules of topo this process imports and which files it opens.

    inside: only files in these folders are written down. Once begun, this lasts until the process ends.
    """
    folders, out = [os.path.abspath(folder) for folder in inside], open(trace, "a", buffering=1)
    seen = set()

    def put(kind: str, name: str) -> None:
        if (kind, name) not in seen:
            seen.add((kind, name))
            out.write(json.dumps([kind, name]) + "\n")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "import" and str(arguments[0]).split(".")[0] == "topo":
            put("module", arguments[0])
        elif event == "open" and isinstance(arguments[0], (str, os.PathLike)):
            path = os.path.abspath(os.fspath(arguments[0]))
            inside_one = any(path.startswith(folder + os.sep) for folder in folders)
            if inside_one and "__pycache__" not in path and os.path.basename(path) != _MANIFEST:
                if arguments[2] & (os.O_WRONLY | os.O_RDWR):
                    seen.add(("file", path))  # what it has written itself it does not depend on
                put("file", path)

    _watching.append(put)
    sys.addaudithook(hook)


def note_entry(folder: str | Path, name: str = "") -> None:
    """Write down, where this process is watched, that it depends on an entry of a folder's manifest, or on all."""
    for put in _watching:
        put("entry", f"{Path(folder).resolve()}:{name}")


class Store:
    """Executed chapters, each with checksums of all that it depended on.

    folder: where they are kept. always: whatever all chapters depend on, such as the versions of packages, as a text.
    beside: the folder that chapters run in: what one opens there is known by its name alone.
    """

    def __init__(self, folder: str | Path, always: str, beside: str | Path) -> None:
        self.folder, self.always, self.beside = Path(folder), always, Path(beside)

    def recall(self, chapter: str | Path, target: str | Path) -> bool:
        """Copy the executed chapter to `target`, if nothing that it depended on has changed; return whether."""
        chapter = Path(chapter)
        try:
            kept = json.loads((self.folder / f"{chapter.stem}.json").read_text())
            fresh = kept.pop("chapter") == self._own(chapter)
            fresh = fresh and all(self._digest(*json.loads(key)) == digest for key, digest in kept.items())
            if fresh:
                shutil.copyfile(self.folder / chapter.name, target)
        except (OSError, ValueError, TypeError, AttributeError):  # there is none, or it is damaged
            return False
        return fresh

    def remember(self, chapter: str | Path, executed: str | Path, trace: str | Path, since: float) -> None:
        """Keep an executed chapter, with what `watch` wrote into `trace`.

        since: when its execution began, in seconds of the clock of files. Where something changed after that, nothing
        is kept: it is not known which state the chapter saw.
        """
        from topo.files import write_atomically

        chapter, kept = Path(chapter), {}
        for line in Path(trace).read_text().splitlines():
            kind, name = json.loads(line)
            path = self._path(kind, name)
            if path is not None and path.exists() and path.stat().st_mtime > since and path.parent != self.beside:
                return
            if kind == "file" and Path(name).parent == self.beside:
                kind, name = "beside", Path(name).name
            if (kind, name) != ("beside", chapter.name):  # a chapter that reads all others reads itself, see `_own`
                kept[json.dumps([kind, name])] = self._digest(kind, name)
        (self.folder / f"{chapter.stem}.json").unlink(missing_ok=True)
        write_atomically(self.folder / chapter.name, Path(executed).read_bytes())
        record = json.dumps({"chapter": self._own(chapter), **kept}, indent=1)
        write_atomically(self.folder / f"{chapter.stem}.json", record.encode())

    def _own(self, chapter: Path) -> str:
        """A checksum of a chapter without its outputs, and of what all depend on."""
        cells = [
            {name: cell[name] for name in ("cell_type", "metadata", "source")}
            for cell in json.loads(chapter.read_text("utf-8"))["cells"]
        ]
        return _sha256(json.dumps([self.always, cells]).encode())

    def _path(self, kind: str, name: str) -> Path | None:
        if kind == "module":
            path = PACKAGE.joinpath(*name.split(".")[1:])
            return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        return self.beside / name if kind == "beside" else Path(name) if kind == "file" else None

    def _digest(self, kind: str, name: str) -> str:
        path = self._path(kind, name)
        if path is None:
            folder, _, entry = name.rpartition(":")
            manifest = Path(folder) / _MANIFEST
            known = json.loads(manifest.read_text()) if manifest.exists() else {}
            return _sha256(json.dumps(known.get(entry) if entry else known).encode())
        return _sha256(path.read_bytes()) if path.is_file() else "absent"


def stamps(folders: Iterable[str | Path]) -> list[tuple[str, int, int]]:
    """Name, size and time of change of every file in some folders: large files, whose content takes long to read.

    What is being downloaded is left out.
    """
    files = (path for folder in folders for path in sorted(Path(folder).rglob("*")) if path.suffix != ".part")
    kept = [path for path in files if path.is_file()]
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in kept]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
