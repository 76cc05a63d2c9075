"""What a whole run leaves beside its notebooks' results: the page of claims, and what goes with it.

A replication leaves its verdicts, too, as a committed record which the page of a published preset shows.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from sae_utils.files import write_json, write_text
from sae_utils.paths import PUBLISHED, REPLICATIONS
from sae_utils.report.claims import changed_page, claims_page, hash_of_rules, load_claims
from sae_utils.results import is_own, pages_folder, read_results
from sae_utils.run.jobs import Job
from sae_utils.run.made_by import code_of_notebook
from sae_utils.run.notebooks import default_parameters

BEFORE = "before_verdicts.json"
KEPT = ("estimate", "low", "high", "verdict", "p")


def write_claims_page(path: Path, jobs: Sequence[Job]) -> Path | None:
    """Writes ``claims.md`` from the results of the jobs that are done; without a file of claims there is no page.

    With it goes ``changed_verdicts.md`` where the folder holds verdicts from before, and a replication's record. Raises
    InputError for results that were judged by other rules than the file's.
    """
    if not path.is_file():
        return None
    results, preset = jobs[0].folder.parent, jobs[0].folder.name
    folder, claims = pages_folder(preset, results), list(load_claims(path).values())
    answers = {job.name: read_results(job.name, preset, results).verdicts for job in jobs if job.is_done()}
    replications = {}
    if folder in PUBLISHED.values():
        there = [(name, folder / f"{name}.json") for name, of in REPLICATIONS.items() if of == preset]
        replications = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in there if file.is_file()}
    page = claims_page(claims, answers, preset, replications, os.path.relpath(path.parent, folder))
    if (folder / BEFORE).is_file():
        before = json.loads((folder / BEFORE).read_text(encoding="utf-8"))
        verdicts = [verdict for found in answers.values() for verdict in found]
        write_text(folder / "changed_verdicts.md", changed_page(before, claims, verdicts))
    if preset in REPLICATIONS and is_own(jobs[0].folder) and len(answers) == len(jobs):
        record = replication(jobs, hash_of_rules(claims))
        write_json(PUBLISHED[REPLICATIONS[preset]] / f"{preset}.json", record)
    return write_text(folder / "claims.md", page)


def replication(jobs: Sequence[Job], rules: str) -> dict:
    """A replication's record: its verdicts with their places, by which rules, and the code of the notebooks."""
    verdicts = {}
    for job in jobs:
        values = default_parameters(job.notebook) | job.parameters
        place = f"{values['site']}, layer {values['layer']}"
        for verdict in read_results(job.name, job.folder.name, job.folder.parent).verdicts:
            verdicts[verdict["id"]] = {"place": place, **{name: verdict[name] for name in KEPT}}
    notebooks = {job.name: code_of_notebook(job.notebook) for job in jobs}
    return {"preset": jobs[0].folder.name, "rules": rules, "notebooks": notebooks, "verdicts": verdicts}
