"""Files of a folder that its MANIFEST.json describes: written, found and compared with it.

Knows names, sizes and checksums; must not know what a file holds.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from topo.files import locked, write_atomically
from topo.freshness import note_entry

MANIFEST = "MANIFEST.json"


def entries(folder: str | Path) -> dict[str, dict[str, Any]]:
    """What the manifest of `folder` says, as {name: entry}; {} where there is none.

    An entry has the name of a file in `folder`, its bytes and sha256, and a description. Raises ValueError where the
    manifest has others.
    """
    note_entry(folder)
    return _entries(folder)


def _entries(folder: str | Path) -> dict[str, dict[str, Any]]:
    path = Path(folder) / MANIFEST
    if not path.exists():
        return {}
    try:
        known = json.loads(path.read_text())
        for name, entry in known.items():
            said = [type(entry.get(each)) for each in ("file", "bytes", "sha256")]
            if said != [str, int, str]:
                raise ValueError(f"{name} lacks its file, bytes or sha256")
            if entry["file"] in ("", "..") or re.search(r"[/\0]", entry["file"]):
                raise ValueError(f"{name} names the file {entry['file']!r}, which is not in its folder")
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is no manifest that can be read: {' '.join(str(error).split())}") from None
    return known


def put(name: str, content: bytes, description: Mapping[str, Any], folder: str | Path) -> Path:
    """Write NAME.safetensors into `folder`, and its entry, so that they fit together at every moment.

    The file takes its name after the manifest describes it; until then it lies beside, where `find` looks for it if
    this was interrupted. Several processes may write into one folder at once.
    description: what JSON can say of the content. Returns the path. Raises as `write_atomically` does.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    entry = {"file": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), **description}
    lock = folder / f".{MANIFEST}.lock"
    with locked(lock):
        try:
            write_atomically(_next(path), content)
            try:
                kept = dict(sorted({**_entries(folder), name: entry}.items()))
                write_atomically(folder / MANIFEST, (json.dumps(kept, indent=1) + "\n").encode())
            except (OSError, ValueError):
                _next(path).unlink()
                raise
            _next(path).replace(path)
        finally:
            lock.unlink()
    return path


def _next(path: Path) -> Path:
    """Where a file lies before it takes its name."""
    return path.with_name(f".{path.name}.next")


def find(name: str, folder: str | Path, kind: str, anew: str) -> tuple[Path, dict[str, Any]]:
    """Path and entry of a file, its checksum verified.

    kind: what an error calls the file; anew: the command that makes it anew.
    Raises FileNotFoundError for a name that is not in the manifest, naming those that are, or a file that is missing;
    ValueError where the file is not the one that the manifest describes.
    """
    note_entry(folder, name)
    folder, known = Path(folder), _entries(folder)
    if name not in known:
        there = ", ".join(known) or "none"
        raise FileNotFoundError(f"{kind} {name!r} is not in {folder / MANIFEST}; there are: {there}")
    path = folder / known[name]["file"]
    if _next(path).exists() and not difference(_next(path), known[name]):  # `put` was interrupted
        with suppress(OSError):  # in a folder that cannot be written to, it stays where it is
            _next(path).replace(path)
        path = path if path.exists() and not difference(path, known[name]) else _next(path)
    if not path.exists():
        raise FileNotFoundError(f"{kind} {name!r}: {path} is missing; `{anew}` makes it anew")
    differs = difference(path, known[name])
    if differs:
        raise ValueError(f"{kind} {name!r}: {path} is not the file that the manifest describes ({differs})")
    return path, known[name]


def difference(path: str | Path, entry: Mapping[str, Any]) -> str:
    """What makes the file at `path` another one than the entry describes; "" where it is that one."""
    path = Path(path)
    if not path.exists():
        return "the file is missing"
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        size = f", and it has {len(content)} bytes instead of {entry['bytes']}" * (len(content) != entry["bytes"])
        return f"sha256 differs{size}"
    return "" if len(content) == entry["bytes"] else f"the manifest says {entry['bytes']} bytes, it has {len(content)}"
