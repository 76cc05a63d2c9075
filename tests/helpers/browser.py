"""Debian's Chromium, driven by Playwright, without a network; or a plain line that says why a test is skipped."""

import os
import re
import shutil
import time
from contextlib import contextmanager

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
DESK = {"width": 1400, "height": 900}


@contextmanager
def chromium():
    """A running browser, that of $SAE_UTILS_CHROMIUM or the first on PATH; skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("SAE_UTILS_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if not path:
        pytest.skip("no Chromium on PATH (apt-get install chromium) or in $SAE_UTILS_CHROMIUM")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


class Tab:
    """A page, and all that it asked for (not in ``folder``) or complained of; closing it fails if it did either."""

    def __init__(self, browser, path, route="", folder=None, **settings):
        self.context = browser.new_context(**({"viewport": DESK, "offline": True} | settings))
        self.page, self.faults, self.url = self.context.new_page(), [], path.as_uri()
        allowed = (folder or path).as_uri()
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("request", lambda request: request.url.startswith(allowed) or self.faults.append(request.url))
        self.page.on("dialog", lambda dialog: self.faults.append(dialog.message))
        self.open(route)

    def open(self, route):
        self.page.goto(self.url + route)
        self.page.wait_for_selector("html[data-ready]", timeout=30_000)

    def open_latent(self, latent):
        self.open(f"#/latent/{latent}")
        self.wait_for_heading(f"Latent {latent}")

    def heading(self):
        return self.page.locator("h1").inner_text()

    def wait_for_heading(self, text):
        self.page.locator("h1", has_text=re.compile(f"^{text}$")).wait_for(timeout=30_000)

    def wait_for_count(self, text):
        """Until the line over the list says how many there are."""
        self.page.locator(".count", has_text=text).wait_for(timeout=30_000)

    def panel(self, title):
        return self.page.locator("section.panel", has=self.page.locator("h2", has_text=re.compile(f"^{title}$")))

    def texts(self, which, title=None):
        """All texts of a kind, on the page or in the panel with this title."""
        return (self.panel(title) if title else self.page).locator(which).all_inner_texts()

    def numbers(self, which=".number", title=None):
        """Likewise, as numbers."""
        return numbers(self.texts(which, title))

    def indices(self, which=".row .index", title=None):
        """Likewise, numbers of latents; those of the list, from the top, unless told."""
        return [int(text[1:]) for text in self.texts(which, title)]

    def tips(self, which):
        """What elements say on hover."""
        return self.page.locator(which).evaluate_all("all => all.map((each) => each.dataset.tip)")

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def search(self, text):
        self.press("/")
        self.page.keyboard.type(text)

    def wait_for(self, condition):
        """Asks again and again: the page's policy forbids what Playwright's own wait_for_function does."""
        until = time.monotonic() + 30
        while not self.page.evaluate(condition):
            assert time.monotonic() < until, condition
            self.page.wait_for_timeout(20)

    def close(self):
        self.context.close()
        assert self.faults == []


def numbers(texts):
    return [float(text.replace("−", "-").replace(",", "").removesuffix("%").strip()) for text in texts]
