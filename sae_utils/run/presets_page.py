"""What the code knows of notebooks/presets/README.md: ``python -m sae_utils.run.presets_page`` writes it anew."""

import tempfile
from pathlib import Path

from sae_utils.paths import NOTEBOOKS, PRESETS
from sae_utils.run.batch import of_preset, plan, select
from sae_utils.run.dry_run import describe
from sae_utils.run.presets import load_preset

PAGE = PRESETS / "README.md"
MARK = "<!-- below: python -m sae_utils.run.presets_page -->\n"


def dry_runs(names: list[str]) -> str:
    """What ``--dry-run`` prints of each preset, nothing having run, under a heading each."""
    notebooks = select(NOTEBOOKS, "")
    parts = []
    for name in names:
        preset = load_preset(name, notebooks)
        with tempfile.TemporaryDirectory() as nothing:
            lines = describe(plan(of_preset(notebooks, preset, ""), preset, Path(nothing)), fresh=False)
        parts.append("\n".join([f"### {name}", "", "```text", *lines, "```", ""]))
    return "\n".join(parts)


def papers_presets() -> list[str]:
    """Names of the papers' presets, each before its small variant."""
    return sorted(path.stem for path in PRESETS.glob("[a-c]-*.yaml"))


def page(before: str) -> str:
    """The page whose text down to the mark is that of ``before``."""
    return before[: before.index(MARK) + len(MARK)] + "\n" + dry_runs(papers_presets())


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
