"""A server that answers as the Hugging Face hub does where data sets are streamed, from folders on this machine."""

import hashlib
import json
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlparse

from helpers.failing_server import Handler, serving


class HubHandler(Handler):
    """``folder/owner/name/revision`` has the files of a revision; ``failures`` are for the contents of data files."""

    def parse_request(self):
        """503, whatever is asked for, so many times as ``server.down`` says."""
        parsed, down = super().parse_request(), getattr(self.server, "down", 0)
        if parsed and down:
            self.server.down = down - 1
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.empty(503)
            return False
        return parsed

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        words = self.words()
        if words[:2] != ["api", "datasets"] or words[4:5] != ["paths-info"]:
            return self.empty(404)
        folder = self.revision(words[2:4], words[5])
        paths = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
        return self.json([entry(folder, folder / path) for path in paths if (folder / path).exists()])

    def answer(self, body):
        words = self.words()
        if words[0] == "datasets":
            if words[2] == "gated":
                return self.empty(401, "GatedRepo")
            folder = self.revision(words[1:3], words[4])
            return self.file(folder, folder / "/".join(words[5:]), body) if folder else self.empty(404, "RepoNotFound")
        if words[:2] == ["api", "datasets"]:
            folder = self.revision(words[2:4], words[5] if len(words) > 5 else "main")
            if folder is None:
                return self.empty(404, "RevisionNotFound" if self.revision(words[2:4], "main") else "RepoNotFound")
            if words[4:5] == ["tree"]:
                return self.tree(folder, folder / "/".join(words[6:]))
            return self.json({"id": "/".join(words[2:4]), "sha": commit(folder), "siblings": []})
        return self.empty(404, "EntryNotFound")

    def words(self):
        return [unquote(word) for word in urlparse(self.path).path.strip("/").split("/")]

    def revision(self, repository, name):
        folder = self.server.folder.joinpath(*repository)
        for one in sorted(folder.iterdir()) if folder.is_dir() else []:
            if one.name == name.replace("/", "-") or commit(one) == name:
                return one
        return None

    def tree(self, folder, path):
        if not path.is_dir():
            return self.empty(404, "EntryNotFound")
        recursive = "true" in parse_qs(urlparse(self.path).query).get("recursive", [""])[0].lower()
        return self.json([entry(folder, one) for one in sorted(path.rglob("*") if recursive else path.iterdir())])

    def file(self, folder, path, body):
        if not path.is_file():
            return self.empty(404, "EntryNotFound")
        self.sent = {"ETag": f'"{hashlib.sha1(path.read_bytes()).hexdigest()}"', "X-Repo-Commit": commit(folder)}
        return self.send(path.read_bytes(), body, failing=path.suffix != ".md")

    def json(self, value):
        self.sent = {"Content-Type": "application/json"}
        return self.send(json.dumps(value).encode(), body=True, failing=False)


def commit(folder):
    """By what is in it, so that it stays when a folder gets another name."""
    return hashlib.sha1(str(sorted(path.relative_to(folder) for path in folder.rglob("*"))).encode()).hexdigest()


def entry(folder, path):
    about = {"path": str(path.relative_to(folder)), "oid": hashlib.sha1(str(path).encode()).hexdigest()}
    if path.is_dir():
        return about | {"type": "directory"}
    return about | {"type": "file", "size": path.stat().st_size}


@contextmanager
def dataset_hub(folder: Path, cache: Path, monkeypatch):
    """The server, while huggingface_hub and datasets ask it and keep what they get in ``cache``."""
    with serving(folder, HubHandler) as server:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
        monkeypatch.setattr("datasets.config.HF_ENDPOINT", server.address)
        monkeypatch.setattr(
            "datasets.config.HUB_DATASETS_URL", server.address + "/datasets/{repo_id}/resolve/{revision}/{path}"
        )
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", cache / "datasets")
        yield server
