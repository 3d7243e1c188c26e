"""Files are downloaded whole or not at all, verified, and found again; a small server stands in for their home."""

import dataclasses
import gzip
import hashlib
import http.server
import io
import tarfile
import threading

import numpy as np
import pytest

from topo import remote

CONTENT = np.random.default_rng(0).integers(0, 256, 200_000, np.uint8).tobytes()


class Home(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT gzipped, with ranges; `requests` keeps what was asked for, `cut` breaks off the first answer."""

    body = gzip.compress(CONTENT, mtime=0)
    requests, cut = [], None

    def do_GET(self):
        asked = self.headers.get("Range")
        type(self).requests.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start >= len(self.body):
            return self.send_error(416)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(self.body) - start))
        self.end_headers()
        stop, type(self).cut = type(self).cut, None
        self.wfile.write(self.body[start:stop])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def home():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Home)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Home.requests, Home.cut = [], None
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


DIGEST = hashlib.sha256(CONTENT).hexdigest()


def served(home, sha256=DIGEST):
    return remote.RemoteFile("set/file.gz", sha256, (home + "file.gz",))


def test_fetch_verifies_the_uncompressed_content(home, tmp_path):
    path = remote.fetch(served(home), tmp_path / "file.gz", progress=False)
    assert gzip.decompress(path.read_bytes()) == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["file.gz"]


def test_fetch_resumes_what_broke_off(home, tmp_path):
    Home.cut = 50_000
    with pytest.raises(FileNotFoundError):
        remote.fetch(served(home), tmp_path / "file.gz", progress=False)
    assert (tmp_path / "file.gz.part").stat().st_size == 50_000 and not (tmp_path / "file.gz").exists()
    path = remote.fetch(served(home), tmp_path / "file.gz", progress=False)
    assert Home.requests == [None, "bytes=50000-"] and gzip.decompress(path.read_bytes()) == CONTENT


def test_a_whole_part_is_taken_as_it_is(home, tmp_path):
    (tmp_path / "file.gz.part").write_bytes(Home.body)
    path = remote.fetch(served(home), tmp_path / "file.gz", progress=False)
    assert gzip.decompress(path.read_bytes()) == CONTENT


def test_wrong_content_never_takes_the_name(home, tmp_path):
    with pytest.raises(FileNotFoundError, match="other content"):
        remote.fetch(served(home, "0" * 64), tmp_path / "file.gz", progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The only folder that is searched, whatever $TOPO_DATA says."""
    monkeypatch.delenv("TOPO_DATA", raising=False)
    monkeypatch.setattr(remote, "CACHE", tmp_path)
    return tmp_path


def test_without_the_file_one_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TOPO_DATA", str(tmp_path))
    monkeypatch.setattr(remote, "CACHE", tmp_path / "cache")
    lost = remote.RemoteFile("set/file.gz", "0" * 64, ("http://127.0.0.1:9/file.gz",))
    with pytest.raises(FileNotFoundError) as error:
        remote.find(lost)
    message = str(error.value)
    assert (
        "http://127.0.0.1:9/file.gz" in message
        and str(tmp_path / "set" / "file.gz") in message
        and "TOPO_DATA" in message
    )


def test_topo_data_comes_before_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("TOPO_DATA", str(tmp_path / "mine"))
    file = remote.RemoteFile("set/file", hashlib.sha256(b"x").hexdigest(), ())
    for folder in remote.folders():
        (folder / "set").mkdir(parents=True)
        (folder / file.path).write_bytes(b"x")
    assert remote.find(file) == tmp_path / "mine" / "set" / "file"
    monkeypatch.delenv("TOPO_DATA")
    assert remote.find(file) == tmp_path / "cache" / "set" / "file"


def test_a_file_with_other_content_or_a_damaged_one_is_refused(cache):
    file = remote.RemoteFile("file.gz", hashlib.sha256(CONTENT).hexdigest(), ())
    (cache / "file.gz").write_bytes(gzip.compress(b"other"))
    with pytest.raises(ValueError, match="not the official file.*delete it"):
        remote.find(file)
    whole = gzip.compress(CONTENT)
    (cache / "file.gz").write_bytes(whole[:-20])
    with pytest.raises(ValueError, match="cannot be read"):
        remote.find(file)
    (cache / "file.gz").write_bytes(whole[:10] + b"\xff" * 20 + whole[30:])
    with pytest.raises(ValueError, match="cannot be read"):
        remote.find(file)


def test_a_file_without_a_home_is_asked_for_without_one(cache):
    with pytest.raises(FileNotFoundError, match=r"\(no address\)\. Get it and put it at"):
        remote.find(remote.RemoteFile("file", "0"))


def packed(records, home):
    """A tar.gz of two files as bytes, the PackedFiles in it; of the second only each record's first byte counts."""
    contents = {"set/a.bin": CONTENT[:5000], "set/b.bin": records.tobytes()}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    checksum = hashlib.md5(stream.getvalue(), usedforsecurity=False).hexdigest()
    whole = remote.RemoteFile("set.tar.gz", checksum, (home + "set.tar.gz",), "md5")
    labels = records[:, 0].tobytes()
    files = [
        remote.PackedFile("set/a.bin", hashlib.sha256(CONTENT[:5000]).hexdigest(), archive=whole),
        remote.PackedFile("set/b.bin", hashlib.sha256(labels).hexdigest(), archive=whole, record=records.shape[1]),
    ]
    return stream.getvalue(), files


def test_an_archive_that_is_here_is_unpacked_without_a_download(cache):
    body, files = packed(np.zeros((3, 7), np.uint8), "http://127.0.0.1:9/")
    with pytest.raises(FileNotFoundError, match="set.tar.gz is not here .*downloading is switched off"):
        remote.find(files[0], download=False)
    (cache / "set.tar.gz").write_bytes(body)
    assert remote.find(files[0], download=False).read_bytes() == CONTENT[:5000]
    other = dataclasses.replace(files[1], checksum="0")
    with pytest.raises(ValueError, match="set/b.bin.* is not the official file"):
        remote.find(other, download=False)
    assert sorted(path.name for path in (cache / "set").iterdir()) == ["a.bin"]


def test_packed_files_come_out_of_one_download(home, cache, monkeypatch):
    records = np.random.default_rng(1).integers(0, 256, (30, 7), np.uint8)
    body, files = packed(records, home)
    monkeypatch.setattr(Home, "body", body)
    assert remote.find(files[0]).read_bytes() == CONTENT[:5000]
    assert remote.find(files[1]).read_bytes() == records.tobytes()
    assert Home.requests == [None]
    records[:, 1:] = 0
    (cache / "set" / "b.bin").write_bytes(records.tobytes())
    assert remote.find(files[1]) == cache / "set" / "b.bin"
    records[3, 0] ^= 1
    (cache / "set" / "b.bin").write_bytes(records.tobytes())
    with pytest.raises(ValueError, match="not the official file"):
        remote.find(files[1])


def test_an_archive_that_lacks_a_file_or_cannot_be_had_is_named(home, cache, monkeypatch):
    body, (known, _) = packed(np.zeros((2, 2), np.uint8), home)
    with pytest.raises(FileNotFoundError, match="set.tar.gz is not here.*downloading is switched off"):
        remote.find(known, download=False)
    monkeypatch.setattr(Home, "body", body)
    with pytest.raises(ValueError, match="set.tar.gz cannot be unpacked.*set/c.bin"):
        remote.find(remote.PackedFile("set/c.bin", "0", archive=known.archive))
