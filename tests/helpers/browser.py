"""Debian's Chromium, driven by Playwright, without a network; or a plain line that says why a test is skipped.

``python tests/browser.py figures/explorer.html '#/latent/12' figures/explorer.png`` takes a picture of a page.
"""

import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def executable() -> str | None:
    """The Chromium of $SAE_UTILS_CHROMIUM, or the first on PATH."""
    return os.environ.get("SAE_UTILS_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def chromium():
    """A running browser; skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = executable()
    if not path:
        pytest.skip("no Chromium on PATH (apt-get install chromium) or in $SAE_UTILS_CHROMIUM")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


def picture(page: Path, route: str, to: Path, width: int = 1400, height: int = 900, scheme: str = "light") -> None:
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        tab.goto(page.resolve().as_uri() + route)
        tab.wait_for_selector("html[data-ready]")
        tab.screenshot(path=to)


if __name__ == "__main__":
    picture(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
