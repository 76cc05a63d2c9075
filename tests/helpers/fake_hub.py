"""A server that answers as the Hugging Face hub does where models are asked for, from folders on this machine."""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@contextlib.contextmanager
def fake_hub(
    models: dict[str, dict[str, Path]], cache: Path, monkeypatch: pytest.MonkeyPatch, gated: str = ""
) -> Iterator[list[str]]:
    """The paths asked for, while huggingface_hub asks this server and keeps what it gets in ``cache``.

    ``models`` maps a repository to the folders of its revisions; ``gated`` is one that wants the token "good".
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, error, body, headers = self._found()
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), "X-Error-Code": error, **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Nothing: a test prints no log of requests."""

        def _found(self) -> tuple[int, str, bytes, dict[str, str]]:
            is_api = self.path.startswith("/api/models/")
            repository, *rest = self.path.removeprefix("/api/models").strip("/").split("/", 2)
            repository = f"{repository}/{rest[0]}"
            words = rest[1].split("/") if len(rest) > 1 else ["revision", "main"]
            token = self.headers.get("Authorization", "")
            if repository not in models:
                return 401, "RepoNotFound", b"", {}
            folders = {_commit(folder): folder for folder in models[repository].values()} | models[repository]
            if words[1] not in folders:
                return 404, "RevisionNotFound", b"", {}
            folder = folders[words[1]]
            if is_api and words[0] == "revision":
                return 200, "", json.dumps({"id": repository, "sha": _commit(folder), "siblings": []}).encode(), {}
            if repository == gated and token != "Bearer good":
                return (403 if token else 401), "GatedRepo", b"", {}
            file = folder / "/".join(words[2:])
            if is_api or not file.is_file():
                return 404, "EntryNotFound", b"", {}
            body = file.read_bytes()
            return 200, "", body, {"ETag": hashlib.sha1(body).hexdigest(), "X-Repo-Commit": _commit(folder)}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # which conftest.py sets
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)  # it keeps the endpoint that it began with
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()


def _commit(folder: Path) -> str:
    return hashlib.sha1(str(folder).encode()).hexdigest()
