"""Files that have an official home: find them, download them, verify them.

Knows addresses, checksums and partial downloads; must not know what a file holds.
"""

import gzip
import hashlib
import os
import tarfile
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass, field
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / "data" / "cache"


@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set: where it lies below the data folder, and where it comes from.

    urls: its homes, tried in this order.
    checksum: of the content, by `algorithm`, which is a name of hashlib's. Where the file's name ends in .gz but not in
    .tar.gz, the content is decompressed first (the header of a .gz holds a date).
    compressed: whether the checksum is of a .gz file as it is stored, where its home publishes only that one.
    """

    path: str
    checksum: str
    urls: tuple[str, ...] = ()
    algorithm: str = "sha256"
    compressed: bool = False

    def digest(self, path: str | Path) -> str:
        """The checksum, in hexadecimal, of what is at `path`.

        Raises OSError where it cannot be read, and OSError, EOFError or zlib.error where it is no whole gzip file.
        """
        unpacked = self.path.endswith(".gz") and not self.path.endswith(".tar.gz") and not self.compressed
        with gzip.open(path, "rb") if unpacked else open(path, "rb") as stream:
            digest = hashlib.new(self.algorithm)
            for piece in iter(lambda: stream.read(1 << 20), b""):
                digest.update(piece)
        return digest.hexdigest()


@dataclass(frozen=True)
class PackedFile(RemoteFile):
    """A file of a data set that comes in a tar archive with others, at the same path in it.

    archive: the tar archive. record: bytes; where positive, the checksum is of the first byte of each record only,
    which is its label.
    """

    archive: RemoteFile = field(kw_only=True)
    record: int = 0

    def digest(self, path: str | Path) -> str:
        if not self.record:
            return super().digest(path)
        return hashlib.new(self.algorithm, Path(path).read_bytes()[:: self.record]).hexdigest()


def folders() -> list[Path]:
    """The folders searched for data sets, in order: $TOPO_DATA where it is set, then data/cache."""
    chosen = os.environ.get("TOPO_DATA")
    return [Path(chosen).expanduser(), CACHE] if chosen else [CACHE]


def find(file: RemoteFile, download: bool = True) -> Path:
    """Path of a verified file: from `folders()`, else downloaded into the first of them.

    download: whether a file that is absent is downloaded.
    Raises FileNotFoundError, saying how to get the file, where it is absent and cannot be downloaded, and
    ValueError where a file that is there has other content than the official one.
    """
    for folder in folders():
        path = folder / file.path
        if path.exists():
            _verify(file, path)
            return path
    if not download:
        if isinstance(file, PackedFile):
            find(file.archive, download)
            return fetch(file, folders()[0] / file.path)
        raise FileNotFoundError(_how_to_get(file, "downloading is switched off"))
    return fetch(file, folders()[0] / file.path)


def _verify(file: RemoteFile, path: Path) -> None:
    try:
        found = file.digest(path)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}); delete it and it will be fetched again") from None
    if found != file.checksum:
        raise ValueError(
            f"{path} is not the official file: {file.algorithm} {found} instead of {file.checksum}; "
            "delete it and it will be fetched again"
        )


def _how_to_get(file: RemoteFile, reason: object) -> str:
    places = " or ".join(str(folder / file.path) for folder in folders())
    home = f" from {file.urls[0]}" if file.urls else ""
    return (
        f"{file.path} is not here and could not be downloaded ({reason}). Get it{home} and put it at {places}, or set "
        "TOPO_DATA to the folder that holds it."
    )


def fetch(file: RemoteFile, target: str | Path, progress: bool = True) -> Path:
    """Download a file to `target`, resuming what an earlier try left, and verify it before it takes its name.

    A PackedFile is taken out of its archive, which is found or downloaded like any other file.
    progress: whether to show a bar. Returns the path.
    Raises FileNotFoundError, saying how to get the file, where none of its homes sends the official content; for a
    PackedFile also ValueError, where the archive cannot be unpacked or holds other content.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(file, PackedFile):
        return _unpack(file, target)
    part = target.with_name(target.name + ".part")
    reason: object = "no address"
    for url in file.urls:
        try:
            _download(url, part, progress)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            continue
        try:
            _verify(file, part)
        except ValueError:
            part.unlink()
            reason = f"{url} sent other content than the official file"
            continue
        part.replace(target)
        return target
    raise FileNotFoundError(_how_to_get(file, reason))


def _unpack(file: PackedFile, target: Path) -> Path:
    packed = find(file.archive)
    try:
        with tarfile.open(packed) as archive:
            member = archive.extractfile(file.path)
            if member is None:
                raise tarfile.TarError(f"{file.path} is no file")
            content = member.read()
    except (EOFError, KeyError, tarfile.TarError) as error:
        raise ValueError(f"{packed} cannot be unpacked ({error}); delete it and it will be fetched again") from None
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    part.write_bytes(content)
    try:
        _verify(file, part)
    except ValueError:
        part.unlink()
        raise
    return part.replace(target)


def _download(url: str, part: Path, progress: bool) -> None:
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 -- only what `topo.datasets` lists
    try:
        response = urllib.request.urlopen(request, timeout=30)  # noqa: S310 -- as above
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send: the part is whole, or longer than the file
            return
        raise
    with response:
        resumed = response.status == 206
        length = response.headers.get("Content-Length")
        total = int(length) + have * resumed if length else None
        with (
            open(part, "ab" if resumed else "wb") as out,
            tqdm(
                total=total, initial=have * resumed, unit="B", unit_scale=True, desc=part.stem, disable=not progress
            ) as bar,
        ):
            for piece in iter(lambda: response.read(1 << 16), b""):
                out.write(piece)
                bar.update(len(piece))
    if total is not None and part.stat().st_size < total:
        raise ConnectionError(f"{url} ended after {part.stat().st_size} of {total} bytes; the same call resumes")
