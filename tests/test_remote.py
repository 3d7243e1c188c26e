"""Files are downloaded whole or not at all, verified, and found again; a small server stands in for their home."""

import dataclasses
import gzip
import hashlib
import http.server
import io
import os
import signal
import socketserver
import subprocess
import sys
import tarfile
import threading
import time
from contextlib import suppress

import numpy as np
import pytest

from topo import remote

pytestmark = pytest.mark.tried("downloads")

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
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
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


# What a home can do wrong


class Odd(socketserver.StreamRequestHandler):
    """Answers with the bytes that `answers` has for the path that is asked for; where it has a function, calls it."""

    answers, timeout = {}, 1

    def handle(self):
        with suppress(OSError):  # nobody listens any more, or speaks another protocol
            path = self.rfile.readline().split()[1].decode()
            while self.rfile.readline().strip():
                pass
            answer = self.answers[path]
            self.wfile.write(answer) if isinstance(answer, bytes) else answer(self.wfile)


@pytest.fixture
def odd():
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Odd)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    Odd.answers = {}
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def answered(body, *headers, status="200 OK"):
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "Connection: close", "", ""]).encode() + body


def moved(place):
    return answered(b"", f"Location: {place}", "Content-Length: 0", status="302 Found")


FAULTS = {
    "not found": (answered(b"", "Content-Length: 0", status="404 Not Found"), "404"),
    "forbidden": (answered(b"", "Content-Length: 0", status="403 Forbidden"), "403"),
    "out of order": (answered(b"", "Content-Length: 0", status="503 Service Unavailable"), "503"),
    "nothing to send": (answered(b"", status="204 No Content"), "other content"),
    "no range asked for": (answered(b"", "Content-Length: 0", status="416 Range Not Satisfiable"), "416"),
    "no answer": (b"", "closed connection"),
    "no status": (b"HELLO\r\n\r\n", "HELLO"),
    "endless status": (b"HTTP/1.1 " + b"9" * 70_000, "65536"),
    "no number as status": (b"HTTP/1.1 abc OK\r\n\r\n", "abc"),
    "too many headers": (answered(b"", *(f"X-{i}: 1" for i in range(200))), "headers"),
    "cut off": (answered(CONTENT[:1000], f"Content-Length: {len(CONTENT)}"), "after 1,000 of 200,000 bytes"),
    "no number as length": (answered(CONTENT[:1000], "Content-Length: many"), "other content"),
    "negative length": (answered(CONTENT[:1000], "Content-Length: -7"), "other content"),
    "too short a length": (answered(CONTENT, "Content-Length: 1000"), "other content"),
    "too long a length": (answered(b"", "Content-Length: 200001"), "announces 200,001 bytes"),
    "too long": (answered(CONTENT + b"more"), "more than 200,000 bytes"),
    "chunks cut off": (answered(b"400\r\n" + CONTENT[:1000], "Transfer-Encoding: chunked"), "IncompleteRead"),
    "no chunks": (answered(CONTENT, "Transfer-Encoding: chunked"), "Chunked|chunk|IncompleteRead|invalid literal"),
    "moved to nowhere": (moved("http://127.0.0.1:9/"), "refused"),
    "moved to itself": (moved("/moved to itself".replace(" ", "-")), "infinite loop"),
    "moved to no port": (moved("http://127.0.0.1:many/"), "many"),
    "moved to no name": (moved(f"http://{'a' * 70}/"), "too long"),
    "moved to a file": (moved("file:///etc/passwd"), "not allowed"),
    "moved to no scheme": (moved("nothing://x/"), "not allowed"),
    "other content": (answered(CONTENT[::-1], "Content-Length: 200000"), "other content"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_after_any_fault_the_next_home_is_asked_and_the_fault_is_named(odd, tmp_path, fault):
    answer, why = FAULTS[fault]
    place = "/" + fault.replace(" ", "-")
    Odd.answers = {place: answer, "/right": answered(CONTENT, f"Content-Length: {len(CONTENT)}")}
    file = remote.RemoteFile("file", DIGEST, (odd + place, odd + "/right"), size=len(CONTENT))
    assert remote.fetch(file, tmp_path / "file", progress=False).read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(FileNotFoundError, match=rf"{odd}{place}: .*({why}).*Get it from") as error:
        remote.fetch(dataclasses.replace(file, urls=(odd + place,)), tmp_path / "new", progress=False)
    assert "\n" not in str(error.value)


def test_every_home_is_named_with_what_was_wrong(odd, tmp_path):
    Odd.answers = {"/a": FAULTS["not found"][0], "/b": b"", "/c": FAULTS["too long"][0]}
    urls = *(odd + place for place in Odd.answers), "https" + odd.removeprefix("http"), "http://no.such.host.invalid/"
    file = remote.RemoteFile("file", DIGEST, urls, size=len(CONTENT))
    with pytest.raises(FileNotFoundError) as error:
        remote.fetch(file, tmp_path / "file", progress=False)
    assert all(f"{url}: " in str(error.value) for url in urls) and os.listdir(tmp_path) == []


def drip(out):
    out.write(answered(b""))
    while True:
        out.write(b"x")
        time.sleep(0.01)


def never(out):
    time.sleep(5)


def flood(out):
    out.write(answered(b""))
    while True:
        out.write(bytes(1 << 16))


@pytest.mark.parametrize(
    "answer, why", [(drip, "it sent only .* bytes in"), (never, "no answer within|timed out"), (flood, "more than")]
)
def test_a_body_that_never_ends_or_drips_is_left(odd, tmp_path, monkeypatch, answer, why):
    for name, value in (("_ANSWER", 1), ("_SLOWEST", 1e6)):
        monkeypatch.setattr(remote, name, value)
    Odd.answers = {"/odd": answer, "/right": answered(CONTENT)}
    file = remote.RemoteFile("file", DIGEST, (odd + "/odd", odd + "/right"), size=len(CONTENT))
    start = time.monotonic()
    assert remote.fetch(file, tmp_path / "file", progress=False).read_bytes() == CONTENT
    with pytest.raises(FileNotFoundError, match=why):
        remote.fetch(dataclasses.replace(file, urls=(odd + "/odd",)), tmp_path / "new", progress=False)
    assert time.monotonic() < start + 20


# What an earlier try left, and others at work


@pytest.mark.parametrize("junk", [b"junk", Home.body[:-1] + b"!", Home.body + b"more", bytes(10**6)])
def test_a_part_that_is_junk_is_thrown_away_at_once(home, tmp_path, junk):
    (tmp_path / "file.gz.part").write_bytes(junk)
    file = dataclasses.replace(served(home), size=len(Home.body))
    path = remote.fetch(file, tmp_path / "file.gz", progress=False)
    assert path.read_bytes() == Home.body and Home.requests[-1] is None and len(Home.requests) <= 2
    assert os.listdir(tmp_path) == ["file.gz"]


FETCH = """
import sys
from topo import remote
path = remote.fetch(remote.RemoteFile("file.gz", sys.argv[1], (sys.argv[2],)), sys.argv[3])
print(len(path.read_bytes()))
"""


def fetching(home, target):
    command = [sys.executable, "-c", FETCH, DIGEST, home + "file.gz", target]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_that_fetch_one_file_at_once_all_get_it_and_it_is_sent_once(home, tmp_path):
    with remote.locked(tmp_path / "file.gz.part"):  # so that all three have to wait
        processes = [fetching(home, tmp_path / "file.gz") for _ in range(3)]
        for process in processes:
            assert "another process fetches" in process.stderr.readline()
    for process in processes:
        assert process.communicate(timeout=60)[0] == f"{len(Home.body)}\n" and process.returncode == 0
    assert Home.requests == [None] and os.listdir(tmp_path) == ["file.gz"]


def test_a_download_that_is_killed_is_gone_on_with(odd, tmp_path):
    half = len(Home.body) // 2

    def hang(out):
        out.write(answered(Home.body[:half], f"Content-Length: {len(Home.body)}"))
        time.sleep(60)

    Odd.answers = {"/file.gz": hang}
    process = fetching(odd + "/", tmp_path / "file.gz")
    part = tmp_path / "file.gz.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size == half):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert os.listdir(tmp_path) == ["file.gz.part"]
    rest = answered(Home.body[half:], f"Content-Length: {len(Home.body) - half}", status="206 Partial Content")
    Odd.answers = {"/file.gz": rest}
    file = remote.RemoteFile("file.gz", DIGEST, (odd + "/file.gz",))
    assert remote.fetch(file, tmp_path / "file.gz", progress=False).read_bytes() == Home.body
    assert os.listdir(tmp_path) == ["file.gz"]


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


def test_a_relative_folder_of_data_is_where_the_command_was_called(tmp_path):
    """For the command, for what it starts elsewhere, and for a test that sets it later."""
    show = "import os; from topo import remote; os.chdir('/'); print(remote.folders()[0], os.environ['TOPO_DATA'])"
    environment = {**os.environ, "TOPO_DATA": "mydata", "PYTHONPATH": str(remote.CACHE.parents[1])}
    run = subprocess.run([sys.executable, "-c", show], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.stdout.split() == 2 * [str(tmp_path / "mydata")], run.stderr
