"""Files that have an official home: find them, download them, verify them.

Knows addresses, checksums and partial downloads; must not know what a file holds.
"""

import gzip
import hashlib
import os
import queue
import sys
import tarfile
import threading
import time
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from io import FileIO
from pathlib import Path
from urllib.error import HTTPError, URLError

from topo.files import locked

CACHE = Path(__file__).resolve().parent.parent / "data" / "cache"

_ANSWER = 60  # seconds within which a home answers
_SILENCE = 30  # seconds without a byte after which it is left
_SLOWEST = 2**14  # bytes a second that a whole file comes with, at the least, once it was answered
_LARGEST = 2**30  # bytes of a file whose size is not known


@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set: where it lies below the data folder, and where it comes from.

    urls: its homes, tried in this order.
    checksum: of the content, by `algorithm`, which is a name of hashlib's. Where the file's name ends in .gz but not in
    .tar.gz, the content is decompressed first (the header of a .gz holds a date).
    compressed: whether the checksum is of a .gz file as it is stored, where its home publishes only that one.
    size: bytes that its home sends, which bound a download in size and time; None where they are not known.
    """

    path: str
    checksum: str
    urls: tuple[str, ...] = ()
    algorithm: str = "sha256"
    compressed: bool = False
    size: int | None = None

    @property
    def unpacked(self) -> bool:
        """Whether the checksum is of the content without its compression."""
        return self.path.endswith(".gz") and not self.path.endswith(".tar.gz") and not self.compressed

    @property
    def most(self) -> int:
        """Bytes that a download may have: what is unpacked may be compressed less elsewhere, by half."""
        return _LARGEST if self.size is None else self.size * 3 // 2 if self.unpacked else self.size

    def digest(self, path: str | Path) -> str:
        """The checksum, in hexadecimal, of what is at `path`.

        Raises OSError where it cannot be read, and OSError, EOFError or zlib.error where it is no whole gzip file.
        """
        with gzip.open(path, "rb") if self.unpacked else open(path, "rb") as stream:
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
    return [Path(chosen).expanduser().absolute(), CACHE] if chosen else [CACHE]


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


class _Fault(Exception):
    """A home did not send the file; the text says why."""


def fetch(file: RemoteFile, target: str | Path, progress: bool = True) -> Path:
    """Download a file to `target`, resuming what an earlier try left, and verify it before it takes its name.

    What an earlier try left lies beside it as *.part. One process at a time has it; others wait, and find the file.
    Whatever is wrong with one home, the next is asked. A PackedFile is taken out of its archive, which is found or
    downloaded like any other file.
    progress: whether to show a bar. Returns the path.
    Raises FileNotFoundError, saying how to get the file and what was wrong with each home, where none of them sends the
    official content; OSError where it cannot be written; for a PackedFile also ValueError, where the archive cannot be
    unpacked or holds other content.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")

    def waiting() -> None:
        if progress:
            print(f"another process fetches {target}; waiting for it", file=sys.stderr)

    with locked(part, waiting) as stream:
        try:
            if not _is_official(file, target):
                if isinstance(file, PackedFile):
                    _unpack(file, part, stream)
                else:
                    _download(file, part, stream, progress)
                with _naming(part):
                    os.fsync(stream.fileno())
                    part.replace(target)
        finally:
            if not _size(stream):
                part.unlink(missing_ok=True)
    return target


@contextmanager
def _naming(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise type(error)(f"{part} could not be written ({why}); the same command goes on") from None


def _append(part: Path, stream: FileIO, content: bytes) -> None:
    with _naming(part):
        left = memoryview(content)
        while left:
            left = left[stream.write(left) :]


def _size(stream: FileIO) -> int:
    return os.fstat(stream.fileno()).st_size


def _is_official(file: RemoteFile, path: Path) -> bool:
    try:
        _verify(file, path)
    except ValueError:
        return False
    return True


def _unpack(file: PackedFile, part: Path, stream: FileIO) -> None:
    packed = find(file.archive)
    try:
        with tarfile.open(packed) as archive:
            member = archive.extractfile(file.path)
            if member is None:
                raise tarfile.TarError(f"{file.path} is no file")
            content = member.read()
    except (EOFError, KeyError, tarfile.TarError) as error:
        raise ValueError(f"{packed} cannot be unpacked ({error}); delete it and it will be fetched again") from None
    stream.truncate(0)
    _append(part, stream, content)
    try:
        _verify(file, part)
    except ValueError:
        stream.truncate(0)
        raise


def _download(file: RemoteFile, part: Path, stream: FileIO, progress: bool) -> None:
    faults = []
    for url in file.urls:
        try:
            resumed = True
            while resumed:
                if _size(stream) > file.most:
                    stream.truncate(0)
                resumed = _size(stream) > 0
                _download_from(url, file, part, stream, progress)
                if _is_official(file, part):
                    return
                stream.truncate(0)  # what an earlier try left may be to blame: once more from the start
            raise _Fault("it sent other content than the official file")
        except _Fault as fault:
            faults.append(f"{url}: {fault}")
    raise FileNotFoundError(_how_to_get(file, "; ".join(faults) or "no address"))


@contextmanager
def _faults() -> Iterator[None]:
    """Whatever can be wrong with an address, a connection or an answer, as a _Fault."""
    try:
        yield
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
        said = " ".join(str(reason).split())
        raise _Fault(said if isinstance(error, OSError) and said else f"{type(reason).__name__}: {said}") from None


def _answer(url: str, have: int) -> HTTPResponse | None:
    """What a home answers; None where it has no more than the `have` bytes that are here.

    A thread asks, because names, handshakes and headers have no bound in time of their own.
    """
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 -- only what `topo.datasets` lists
    answers: queue.SimpleQueue[HTTPResponse | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(request, timeout=_SILENCE))  # noqa: S310 -- as above # nosec B310
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=_ANSWER)
    except queue.Empty:
        raise TimeoutError(f"no answer within {_ANSWER} seconds") from None
    if have and isinstance(answer, HTTPError) and answer.code == 416:
        return None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _download_from(url: str, file: RemoteFile, part: Path, stream: FileIO, progress: bool) -> None:
    """Append to the part what it lacks. Raises _Fault where that did not come whole; the part is then a beginning."""
    from tqdm import tqdm

    have, start = _size(stream), time.monotonic()
    with _faults():
        response = _answer(url, have)
    if response is None:
        return
    with response:
        if response.status != 206:
            stream.truncate(0)
            have = 0
        total = None if response.length is None else have + response.length
        if total is not None and total > file.most:
            raise _Fault(f"it announces {total:,} bytes, which is more than the file has")
        with tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=not progress) as bar:
            while True:
                with _faults():
                    piece = response.read1(1 << 16)  # what has come, without waiting for more
                if not piece:
                    break
                have += len(piece)
                if have > file.most:
                    stream.truncate(0)
                    raise _Fault(f"it sends more than {file.most:,} bytes, which the file does not have")
                _append(part, stream, piece)
                bar.update(len(piece))
                if time.monotonic() > start + _ANSWER + file.most / _SLOWEST:
                    raise _Fault(f"it sent only {have:,} bytes in {time.monotonic() - start:.0f} seconds")
    if total is not None and have < total:
        raise _Fault(f"it ended after {have:,} of {total:,} bytes; the same call resumes")
