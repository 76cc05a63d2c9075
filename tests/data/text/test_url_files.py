"""A file behind a URL is read in parts, and what goes wrong is told by its own name."""

import urllib.error

import fsspec
import pytest
from helpers.failing_server import Handler, serving

from sae_utils.data.text.url_files import PREFIX, RangesFile
from sae_utils.errors import InputError

TEXT = "".join(f"line {i}: \u00e9\n" for i in range(2000))


@pytest.fixture
def server(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    with serving(tmp_path) as server:
        yield server


def test_parts_are_those_of_the_file(server, monkeypatch):
    monkeypatch.setattr(RangesFile, "DEFAULT_BLOCK_SIZE", 1000)
    url = f"{PREFIX}{server.address}/text.txt?query=[1]*"
    data = TEXT.encode()
    with fsspec.open(url) as file:
        assert file.read(10) == data[:10]
        assert file.seek(9_000) == 9_000 and file.read(5_000) == data[9_000:14_000]
        file.seek(0)
        assert file.read() == data
    assert server.gets > 2
    with fsspec.open(url, "rt", encoding="utf-8") as file:
        assert file.read() == TEXT


def test_failures_have_their_own_names(server):
    with pytest.raises(urllib.error.HTTPError, match="404"), fsspec.open(f"{PREFIX}{server.address}/none.txt"):
        pass
    server.always = "503"
    with pytest.raises(urllib.error.HTTPError, match="503"), fsspec.open(f"{PREFIX}{server.address}/text.txt"):
        pass


def test_server_without_ranges_is_refused_in_one_line(tmp_path):
    class Whole(Handler):
        def answer(self, body):
            del self.headers["Range"]
            super().answer(body)

    (tmp_path / "text.txt").write_text(TEXT)
    with serving(tmp_path, Whole) as server:
        url = f"{PREFIX}{server.address}/text.txt"
        with pytest.raises(InputError, match="does not give parts of a file: download it"), fsspec.open(url):
            pass
