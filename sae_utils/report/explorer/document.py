"""One HTML file from a results file's numbers: everything in it, nothing to ask for."""

import base64
import gzip
import hashlib
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sae_utils.files import write_text
from sae_utils.report.explorer import layout
from sae_utils.results import pages_folder

PARTS = Path(__file__).with_name("page")
SCRIPTS = ("data", "dom", "charts", "contexts", "rules", "search", "export", "list", "partner", "latent", "meta")
SCRIPTS += ("scatter", "about", "app")
FRAME_HEIGHT = 720  # pixels, in a notebook


@dataclass(frozen=True)
class Explorer:
    """The page as text. In a notebook it shows itself, in a frame of its own."""

    html: str
    n_latents: int

    def __repr__(self) -> str:
        return f"explorer of {self.n_latents:,} latents"

    def _repr_html_(self) -> str:
        frame = (
            f'sandbox="allow-scripts allow-downloads" style="width:100%;height:{FRAME_HEIGHT}px;border:1px solid #8884"'
        )
        return f'<iframe title="{self!r}" {frame} srcdoc="{html.escape(self.html)}"></iframe>'

    def save(self, preset: str, results_dir: str | Path = "") -> Path:
        """Write ``explorer.html`` to ``results.pages_folder``, whole or not at all."""
        return write_text(pages_folder(preset, results_dir) / "explorer.html", self.html)


def explorer(metrics: Mapping, arrays: Mapping[str, np.ndarray]) -> Explorer:
    """The explorer of a results file: ``metrics["facts"]`` and the arrays of ``layout.FIELDS``.

    Equal results give the same bytes. Raises InputError for results that cannot be explored (``layout.check``).
    """
    facts = metrics.get("facts", {})
    shown = layout.check(facts, arrays)
    n = len(shown["firings_frequency"])
    style = (PARTS / "style.css").read_text(encoding="utf-8")
    script = "\n".join((PARTS / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    script = f'"use strict";\n{script}'
    parts = {
        "title": html.escape(f"{n:,} latents of {facts['hook_point']} in {facts['model']}"),
        "policy": f"default-src 'none'; script-src {_source(script)}; style-src {_source(style)}; base-uri 'none'",
        "style": style,
        "script": script,
        # Base 64 has no "<", so no token can end the element that it is in.
        "data": base64.b64encode(gzip.compress(layout.pack(facts, shown), 6, mtime=0)).decode(),
    }
    template = (PARTS / "template.html").read_text(encoding="utf-8")
    return Explorer(re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template), n)


def _source(text: str) -> str:
    """A content security policy's name for an inline element that holds exactly this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
