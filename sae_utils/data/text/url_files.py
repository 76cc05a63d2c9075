"""Files behind a URL, read in ranges, as a file system of fsspec: so ``datasets`` streams them.

fsspec's own one for http asks for the whole file to see whether it is there, says of any failure that it is not, and
cannot be opened as text by datasets 5.2. This one raises what urllib raises.
"""

import re
import urllib.request

from fsspec import register_implementation
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from sae_utils.errors import InputError

PREFIX = "ranges+"  # before http or https
TIMEOUT = 60  # seconds


class RangesFile(AbstractBufferedFile):
    """One file, read ahead in blocks of a few megabytes."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        return _get(self.path, start, end - 1)[0]


class RangesFileSystem(AbstractFileSystem):
    """URLs as they are, behind PREFIX; each is one file."""

    protocol = (PREFIX + "http", PREFIX + "https")

    def __init__(self, **_):
        super().__init__()  # datasets hands over the options of open(), too

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix(PREFIX)

    def info(self, path: str, **_) -> dict:
        """The size, by asking for the first byte."""
        path = self._strip_protocol(path)
        return {"name": path, "size": _get(path, 0, 0)[1], "type": "file"}

    def glob(self, path: str, detail: bool = False, **_) -> dict | list:
        """The one file: a URL's question mark is no pattern."""
        name = PREFIX + self._strip_protocol(path)
        return {name: self.info(path)} if detail else [name]

    def isfile(self, path: str) -> bool:
        """Yes; whether it is there turns out when it is read."""
        return True

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **_) -> RangesFile:
        return RangesFile(self, path, mode, block_size or "default", size=self.info(path)["size"])


def _get(url: str, first: int, last: int) -> tuple[bytes, int]:
    """Bytes ``first`` to ``last``, and the size of the whole file."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        size = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if response.status != 206 or not size:
            raise InputError(f"the server of {url} does not give parts of a file: download it, and name the file")
        return response.read(), int(size[1])


for protocol in RangesFileSystem.protocol:
    register_implementation(protocol, RangesFileSystem, clobber=True)
