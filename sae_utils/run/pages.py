"""What a whole run leaves beside its notebooks' results: the page of claims with its figures, and what goes with it.

Each leaves its verdicts, too, as a committed record: pages of other presets and the notebooks show it beside theirs.
"""

import json
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from sae_utils.files import sha256_of, write_json, write_text
from sae_utils.paths import OTHER_MODELS, PUBLISHED, REPLICATIONS
from sae_utils.report.claims import Claim, changed_page, claims_page, load_claims, rules_of
from sae_utils.report.claims.entries import PAPERS, heading, in_order
from sae_utils.report.claims.family import by_rules, read_records
from sae_utils.report.paper_figures import LISTED, PAGE, load_paper_figures, paper_figures_page
from sae_utils.results import figures_folder, is_own, pages_folder, plain, read_results
from sae_utils.run.jobs import Job
from sae_utils.run.made_by import code_of_notebook, code_that_draws
from sae_utils.run.notebooks import read_cells, source
from sae_utils.run.parameters.presets import OF_CELLS

BEFORE, CHANGED = "before_verdicts.json", "changed_verdicts.md"
FOUND = re.compile(r"^([A-Z]-\d+): ", re.MULTILINE)  # as ``findings`` prints it
SAVED = re.compile(r'"([A-Z]\d+_\w+)", p\b')  # as ``save_figure`` is called
KEPT = ("estimate", "low", "high", "verdict", "p")


def write_claims_page(path: Path, jobs: Sequence[Job]) -> Path | None:
    """Writes ``claims.md`` from the results of the jobs that are done; without a file of claims there is no page.

    With it go the page of the papers' figures, ``changed_verdicts.md`` where the folder holds verdicts from before, and
    the record that another preset's page shows. Raises InputError for results that were judged by other rules than the
    file's.
    """
    if not path.is_file():
        return None
    results, preset = jobs[0].folder.parent, jobs[0].folder.name
    folder, claims = pages_folder(preset, results), list(load_claims(path).values())
    answers = {job.name: read_results(job.name, preset, results).verdicts for job in jobs if job.is_done()}
    records = [_records(folder, preset, others) for others in (REPLICATIONS, OTHER_MODELS)]
    forests = _forests(claims, answers, preset, *records)
    figures = figures_folder(preset, results)
    ways = {paper: os.path.relpath(figures / f"claims_{paper}.png", folder) for paper in forests}
    others = _write_paper_figures(path.with_name(LISTED.name), jobs, folder)
    if (folder / BEFORE).is_file():
        others |= {"claims whose verdict changed": CHANGED}
    of_claims = figures_of_claims(jobs, os.path.relpath(figures, folder))
    notebooks = os.path.relpath(path.parent, folder)
    page = claims_page(claims, answers, preset, *records, notebooks, ways, others, of_claims)
    for paper, drawn in forests.items():
        _draw(f"claims_{paper}", drawn, preset, results)
    if (folder / BEFORE).is_file():
        before = json.loads((folder / BEFORE).read_text(encoding="utf-8"))
        verdicts = [verdict for found in answers.values() for verdict in found]
        write_text(folder / CHANGED, changed_page(before, claims, verdicts))
    # A run at one place counts as a whole; of another model, what has not been run is shown as not run.
    shown_on = (REPLICATIONS | OTHER_MODELS).get(preset, preset if preset in PUBLISHED else None)
    done = [job for job in jobs if job.name in answers]
    if shown_on and is_own(jobs[0].folder) and done and (preset in OTHER_MODELS or done == list(jobs)):
        write_json(PUBLISHED[shown_on] / f"{preset}.json", record_of(done, rules_of(claims)))
        _keep_executed(done, preset, folder)
    return write_text(folder / "claims.md", page)


def figures_of_claims(jobs: Sequence[Job], figures: str) -> dict[str, list[str]]:
    """By claim, the ways to the figures under which the executed notebooks say what was found on it.

    They are saved in the same cell, or in the code cell before it.
    """
    found = defaultdict(list)
    for job in (job for job in jobs if job.file(".ipynb").is_file()):
        before: list[str] = []
        for cell in (cell for cell in read_cells(job.file(".ipynb")) if cell["cell_type"] == "code"):
            saved = SAVED.findall(source(cell))
            texts = ["".join(out.get("data", {}).get("text/plain", "")) for out in cell.get("outputs", ())]
            for claim in FOUND.findall("\n".join(texts)):
                found[claim] += [f"{figures}/{name}.png" for name in saved or before]
            before = saved
    return {claim: [os.path.normpath(way) for way in ways] for claim, ways in found.items()}


def _write_paper_figures(path: Path, jobs: Sequence[Job], folder: Path) -> dict[str, str]:
    """Writes the page of the papers' figures for a published preset that has a page of its own; gives its link."""
    preset = jobs[0].folder.name
    if not path.is_file() or preset in OTHER_MODELS or folder not in PUBLISHED.values():
        return {}
    others = [name for name, shown_on in OTHER_MODELS.items() if shown_on == preset and name in PUBLISHED]
    folders = {jobs[0].parameters["model"]: folder} | {name: PUBLISHED[name] for name in others}
    write_text(folder / PAGE, paper_figures_page(load_paper_figures(path), folders, folder))
    return {"The papers' figures, and the ones here that answer them": PAGE}


def record_of(jobs: Sequence[Job], rules: Mapping[str, str]) -> dict:
    """What another preset's page shows of a run: verdicts with their places, model, rules, and the notebooks' code."""
    verdicts = {}
    for job in jobs:
        values = job.parameters
        for verdict in read_results(job.name, job.folder.name, job.folder.parent).verdicts:
            if "id" in verdict:  # notebook 00 tests what no paper claims, at no layer
                place = f"{values['site']}, layer {values['layer']}"
                verdicts[verdict["id"]] = {"place": place, **{name: verdict[name] for name in KEPT}}
    return {
        "preset": jobs[0].folder.name,
        "model": values["model"],
        "rules": " ".join(dict.fromkeys(rules[name[0]] for name in verdicts)),
        "notebooks": {job.name: code_of_notebook(job.notebook) for job in jobs},
        "verdicts": verdicts,
    }


def _keep_executed(jobs: Sequence[Job], preset: str, folder: Path) -> None:
    """Puts outputs into the notebooks, where they have this preset's values, or beside another model's page.

    Raises InputError where what was executed is not what the repository has.
    """
    from sae_utils.run.store import keep, put_outputs  # nbclient, which a batch with nothing to do does without

    for job in jobs:
        if preset == OF_CELLS:
            put_outputs(job.file(".ipynb"), job.notebook)
        elif preset in OTHER_MODELS:
            keep(job.file(".ipynb"), folder)


def _records(folder: Path, preset: str, others: Mapping[str, str]) -> dict[str, dict]:
    """Those that are there of the presets which the page of this one shows."""
    if folder not in PUBLISHED.values():
        return {}
    return read_records(folder, [name for name, shown_on in others.items() if shown_on == preset])


def _forests(
    claims: Sequence[Claim],
    answers: Mapping[str, Sequence[Mapping]],
    preset: str,
    replications: Mapping[str, Mapping],
    models: Mapping[str, Mapping],
) -> dict[str, dict]:
    """By paper, what ``figures.forest`` draws; none of a paper on which this run has no number."""
    here, rules = f"here ({preset})", rules_of(claims)
    places = {name: record["verdicts"] for name, record in by_rules(replications, rules).items()}
    others = {record["model"]: record["verdicts"] for record in by_rules(models, rules).values()}
    forests = {}
    for paper, title in PAPERS.items():
        rows = []
        for claim in (claim for claim in in_order(claims) if claim.paper == paper):
            beside = {name: found[claim.id] for name, found in (others | places).items() if claim.id in found}
            own = [verdict for found in answers.values() for verdict in found if verdict.get("id") == claim.id]
            rows += [(claim, beside | {here: verdict}) for verdict in own] or [(claim, beside)]
        if any(here in found and found[here]["estimate"] is not None for _, found in rows):
            title = f"{heading(paper)}: {title.partition(',')[0]}"
            forests[paper] = {"title": title, "rows": rows, "here": here, "models": [*others], "places": [*places]}
    return forests


def _draw(name: str, drawn: Mapping, preset: str, results: Path) -> None:
    """Saves a figure of claims, unless the one that is there was made of the same numbers by the same code."""
    made_of = sha256_of([json.dumps(plain(drawn), sort_keys=True), code_that_draws()])
    path = figures_folder(preset, results) / f"{name}.png"
    if path.is_file() and made_of.encode() in path.read_bytes():
        return
    from sae_utils.report.figures.forest import forest  # matplotlib, which a batch with nothing to do does without
    from sae_utils.report.figures.style import save, use_style

    use_style()
    save(forest(**drawn), name, preset, results, made_of)
