"""benchmarks/scale.py: the tables of SCALE.md are those that it prints; its sums against ones worked out here."""

import subprocess
import sys
from dataclasses import replace

import pytest
import yaml

from sae_utils.paths import NOTEBOOKS, ROOT
from sae_utils.run.train import pieces_of, planned_of


@pytest.fixture
def scale(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import scale

    return scale


def test_the_tables_on_the_page_are_what_the_code_prints(scale):
    text = scale.PAGE.read_text(encoding="utf-8")
    shown = scale.tables(scale.THEIRS)
    assert all(f"<!-- {name} -->" in text for name in shown)
    assert text == scale.page(text, shown), "python benchmarks/scale.py --write writes it anew"


def test_the_rate_of_others_is_their_sae_in_what_their_language_model_leaves_of_30_hours(scale):
    tokens, weights = 819_200_000, 4096 * 65_536
    block = 4096 * (2 * 4096 + 2 * 1024 + 3 * 14_336)
    model = tokens * 20 * (2 * block + 4 * 1024 * 4096)
    training = tokens * 12 * weights + 200_000 * 2 * 20 * weights
    assert scale.others_rate() == pytest.approx(training / (108_000 - model / 4e14))
    assert scale.others_rate() / scale.FLOAT32 == pytest.approx(0.44, abs=0.005)  # as the page says


def test_a_llama_is_one_stack_whatever_the_number_of_gpus(scale):
    planned = planned_of("a-llama-3.1-8b", NOTEBOOKS)
    one, many = (scale.Forecast(planned, scale.THEIRS, n) for n in (1, 64))
    assert (one.wall, one.all, one.used) == (many.wall, many.all, many.used) and many.used == 1
    stack = 5 * (147_456 * (2 * 4096 + 1) + 4096)  # weights
    assert one.largest == 3 * 4 * (stack + 5 + 4096 + 1) and one.written == 1953 * one.largest
    assert one.update == pytest.approx(28 * stack * 1_953_125 / 3.35e12, rel=1e-5)
    cut = scale.Forecast(planned, scale.THEIRS, 64, scale.by_seeds(pieces_of(planned)))
    # Five shards, each a fifth of the training, and all of the language model.
    assert cut.used == 5 and cut.model == pytest.approx(5 * one.model)
    steps = 1.5e-3 * 1_953_125
    assert cut.longest == pytest.approx((one.longest - one.model - steps) / 5 + one.model + steps)


def test_cutting_by_seeds_keeps_boosted_chains(scale):
    pieces = pieces_of(planned_of("c-pythia-70m", NOTEBOOKS))
    cut = scale.by_seeds(pieces)
    assert [piece for piece in cut if len(piece.cells) > 1] == [piece for piece in pieces if len(piece.cells) > 1]
    assert sum(piece.operations for piece in cut) == pytest.approx(sum(piece.operations for piece in pieces))


def test_a_speed_is_measured_in_all_that_the_presets_do(scale, monkeypatch, capsys):
    def measure(cells, models, device):
        assert {cell.config.architecture for cell in cells} == set(scale.ARCHITECTURES) and device == "cpu"
        return replace(scale.THEIRS, forward=dict.fromkeys(models, 1e12))

    monkeypatch.setattr(scale, "measure", measure)
    monkeypatch.setattr(sys, "argv", ["scale.py", "--measure", "cpu"])
    assert scale.main() == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    needed = {p.dtype for name in scale.NAMES for p, _ in planned_of(name, NOTEBOOKS).values()}
    assert set(printed["forward"]) == needed and set(printed["training"]) == set(scale.ARCHITECTURES)


def test_a_speed_that_cannot_be_read_ends_in_one_line(tmp_path):
    script = ROOT / "benchmarks" / "scale.py"
    done = subprocess.run(
        [sys.executable, script, "--throughput", tmp_path / "no.yaml"], capture_output=True, text=True
    )
    assert done.returncode == 2 and not done.stdout
    assert len(done.stderr.splitlines()) == 1 and "no.yaml" in done.stderr
