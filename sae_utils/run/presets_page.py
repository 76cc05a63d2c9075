"""What notebooks/presets/README.md says of all presets: ``python -m sae_utils.run.presets_page`` writes it anew."""

from sae_utils.files import write_text
from sae_utils.memory import human
from sae_utils.paths import PRESETS
from sae_utils.run.costs.cost import together
from sae_utils.run.costs.dry_run import costs_of, parts, planned_with
from sae_utils.run.parameters.presets import load_preset

PAGE = PRESETS / "README.md"
MARK = "<!-- below: python -m sae_utils.run.presets_page -->\n"
HEAD = (
    "| preset | text | dictionaries | tokens seen by them | operations | disk | memory |\n"
    "|---|---|---|---|---|---|---|\n"
)


def row(name: str) -> str:
    """What a preset needs on any machine."""
    cost = together(costs_of(planned_with(load_preset(name).overrides)).values())
    operations = parts(cost.operations(), "{:.2g}".format)
    numbers = f"{cost.tokens():.2g} | {cost.n_dictionaries:,} | {cost.trained_tokens:.2g}"
    return f"| {name} | {numbers} | {operations} | {human(sum(cost.disk.values()))} | {human(cost.memory.total)} |"


def page(before: str) -> str:
    """The page whose text down to the mark is that of ``before``."""
    names = sorted((path.stem for path in PRESETS.glob("*.yaml")), key=lambda name: (name[1] == "-", name))
    rows = "\n".join(row(name) for name in names)
    return before[: before.index(MARK) + len(MARK)] + "\n" + HEAD + rows + "\n"


if __name__ == "__main__":
    write_text(PAGE, page(PAGE.read_text(encoding="utf-8")))
