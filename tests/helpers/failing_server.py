"""An http.server on this machine that serves a folder, with ranges, and fails when it is told to."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse


class FailingServer(ThreadingHTTPServer):
    """``failures`` are taken one after another, each by the next GET of more than one byte: "503", "drop", or ""."""

    daemon_threads = True
    folder: Path
    failures: list[str]
    always = ""  # the failure of every request
    gets = 0  # of more than one byte

    def handle_error(self, *_):
        """A client may hang up."""

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    sent: dict = {}  # further headers of what is found

    def do_GET(self):
        self.answer(body=True)

    def do_HEAD(self):
        self.answer(body=False)

    def failure(self, size):
        if self.server.always:
            return self.server.always
        if self.command == "GET" and size > 1:
            self.server.gets += 1
            return self.server.failures.pop(0) if self.server.failures else ""
        return ""

    def answer(self, body):
        path = self.server.folder / unquote(urlparse(self.path).path).lstrip("/")
        return self.send(path.read_bytes(), body) if path.is_file() else self.empty(404)

    def send(self, data, body, failing=True):
        """The part of ``data`` that is asked for, if it does not fail."""
        status, whole = 200, len(data)
        if "Range" in self.headers:
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            first, last = int(first), min(int(last or whole - 1), whole - 1)
            data, status = data[first : last + 1], 206
        failure = self.failure(len(data)) if failing else ""
        if failure == "503":
            return self.empty(503)
        self.send_response(status)
        for key, value in {"Accept-Ranges": "bytes", "Content-Length": len(data), **self.sent}.items():
            self.send_header(key, value)
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{whole}")
        self.end_headers()
        if body:
            self.wfile.write(data[: len(data) // 2] if failure == "drop" else data)
        if failure == "drop":
            self.close_connection = True
        return None

    def empty(self, status, error=""):
        self.send_response(status)
        self.send_header("X-Error-Code", error)
        self.send_header("Content-Length", 0)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def serving(folder, handler=Handler):
    """The server, until the block ends."""
    server = FailingServer(("127.0.0.1", 0), handler)
    server.folder, server.failures = Path(folder), []
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
