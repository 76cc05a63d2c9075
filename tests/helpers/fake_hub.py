"""A server that answers as the Hugging Face hub does, for models and data sets, from a folder of this machine."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlparse

import pytest


class FakeHub(ThreadingHTTPServer):
    """``folder/owner/name/revision`` has the files of a revision, with - for / in the revision's name."""

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.asked: list[str] = []  # paths
        self.gated = ""  # a repository whose files want the token "good"
        self.failures: list[str] = []  # of the next requests for parts of data files: "503", "drop" or "" for none
        self.down = 0  # so many of the next requests get a 503, whatever they ask for

    def handle_error(self, *_):
        """A client may hang up."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        path = urlparse(self.path)
        self.server.asked.append(path.path)
        if self.server.down:
            self.server.down -= 1
            return self.reply(503)
        words = [unquote(word) for word in path.path.strip("/").split("/")]
        is_api = words[0] == "api"
        words = words[is_api:]
        if words[0] in ("models", "datasets"):
            words = words[1:]
        repository, (verb, revision, *inside) = "/".join(words[:2]), words[2:] or ("revision", "main")
        revisions = [one for one in sorted((self.server.folder / repository).glob("*")) if one.is_dir()]
        if not revisions:
            return self.reply(401, "RepoNotFound")
        folder = next((one for one in revisions if revision.replace("/", "-") in (one.name, commit(one))), None)
        if folder is None:
            return self.reply(404, "RevisionNotFound")
        file = folder.joinpath(*inside)
        if is_api and verb == "revision":
            return self.json({"id": repository, "sha": commit(folder), "siblings": []})
        if is_api and verb == "paths-info":
            paths = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
            return self.json([entry(folder, folder / path) for path in paths if (folder / path).exists()])
        if is_api and verb == "tree" and file.is_dir():
            recursive = "true" in parse_qs(path.query).get("recursive", [""])[0].lower()
            return self.json([entry(folder, one) for one in sorted(file.rglob("*") if recursive else file.iterdir())])
        token = self.headers.get("Authorization", "")
        if repository == self.server.gated and token != "Bearer good":
            return self.reply(403 if token else 401, "GatedRepo")
        if is_api or not file.is_file():
            return self.reply(404, "EntryNotFound")
        return self.file(file.read_bytes(), commit(folder))

    do_HEAD = do_POST = do_GET

    def file(self, data: bytes, commit: str) -> None:
        """The part that is asked for, if it does not fail."""
        status, headers = 200, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": commit}
        if "Range" in self.headers:
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            status, headers["Content-Range"] = 206, f"bytes {first}-{last}/{len(data)}"
            data = data[int(first) : int(last) + 1]
        failure = self.server.failures.pop(0) if status == 206 and self.server.failures else ""
        if failure == "503":
            self.reply(503)
        else:
            self.reply(status, "", data, headers, drop=failure == "drop")

    def json(self, value: object) -> None:
        self.reply(200, "", json.dumps(value).encode(), {"Content-Type": "application/json"})

    def reply(self, status: int, error: str = "", body: bytes = b"", headers: dict | None = None, drop: bool = False):
        self.send_response(status)
        for key, value in {"Content-Length": len(body), "X-Error-Code": error, **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if drop else body)
        self.close_connection |= drop

    def log_message(self, *_):
        """Nothing: a test prints no log of requests."""


def commit(folder: Path) -> str:
    """By what is in it, so that it stays when a folder gets another name."""
    total = hashlib.sha1()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return total.hexdigest()


def entry(folder: Path, path: Path) -> dict:
    about = {"path": str(path.relative_to(folder)), "oid": hashlib.sha1(str(path).encode()).hexdigest()}
    return about | ({"type": "directory"} if path.is_dir() else {"type": "file", "size": path.stat().st_size})


@contextmanager
def fake_hub(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """The server, while the libraries ask it and keep what they get in ``cache``."""
    with FakeHub(folder) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        resolved = address + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in {
            "huggingface_hub.constants.HF_HUB_OFFLINE": False,  # which conftest.py sets
            "huggingface_hub.constants.ENDPOINT": address,
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE": resolved,
            "huggingface_hub.constants.HF_HUB_CACHE": str(cache),
            "huggingface_hub.constants.HF_TOKEN_PATH": str(cache / "token"),
            "transformers.utils.hub._hf_api": None,  # it keeps the endpoint that it began with
            "datasets.config.HF_HUB_OFFLINE": False,
            "datasets.config.HF_ENDPOINT": address,
            "datasets.config.HUB_DATASETS_URL": address + "/datasets/{repo_id}/resolve/{revision}/{path}",
            "datasets.config.HF_DATASETS_CACHE": cache / "datasets",
        }.items():
            monkeypatch.setattr(name, value)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
