"""benchmarks/scale.py: the tables of SCALE.md are those that it prints; its sums against ones worked out here."""

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
    shown = scale.tables(scale.H100)
    assert all(f"<!-- {name} -->" in text for name in shown)
    assert text == scale.page(text, shown), "python benchmarks/scale.py --write writes it anew"


def test_the_rate_of_others_is_their_sae_in_what_their_language_model_leaves_of_30_hours(scale):
    tokens, weights = 819_200_000, 4096 * 65_536
    block = 4096 * (2 * 4096 + 2 * 1024 + 3 * 14_336)
    model = tokens * 20 * (2 * block + 4 * 1024 * 4096)
    training = tokens * 12 * weights + 200_000 * 2 * 20 * weights
    assert scale.others_rate() == pytest.approx(training / (108_000 - model / 4e14))
    assert scale.others_rate() / scale.FLOAT32 == pytest.approx(0.44, abs=0.005)  # as the page says


def test_a_llama_is_cut_in_three_for_80_gb_and_each_part_runs_the_language_model(scale):
    planned = planned_of("a-llama-3.1-8b", NOTEBOOKS)
    one, many = (scale.Forecast(planned, scale.THEIRS, n) for n in (1, 64))
    assert (one.used, many.used) == (1, 3) and many.all == pytest.approx(one.all)
    block = 4096 * (2 * 4096 + 2 * 1024 + 3 * 14_336)
    (p, plan) = planned["01_seed_divergence"]
    model = 8e9 * (p.layer + 1) * (2 * block + 4 * plan.context * 4096) / 4e14
    assert many.model == one.model == pytest.approx(3 * model, rel=1e-6)
    seed, steps = 147_456 * (2 * 4096 + 1) + 4096, 1_953_125  # weights
    training = 2 * 147_456 * 4096 * (2 * 8e9 + 40 * steps) / scale.OTHERS  # of two seeds
    assert many.longest == pytest.approx(training + model, rel=1e-6) and many.search == 0
    parts = [3 * 4 * (n * (seed + 1) + 4096 + 1) for n in (2, 2, 1)]
    assert one.largest == many.largest == parts[0] and many.at_once == sum(parts)
    assert one.written == many.written == 1953 * sum(parts)
    assert one.update == pytest.approx(28 * 5 * seed * steps / 3.35e12, rel=1e-5)


def test_a_shard_of_gemma_makes_the_search_of_its_own_stack_and_no_other(scale):
    """Two pilots of an eighth, half and all of the tokens, of the widest; the same language model runs for each."""
    planned = planned_of("b-gemma-2-2b", NOTEBOOKS)
    one, many = (scale.Forecast(planned, scale.THEIRS, n) for n in (1, 64))
    (p, plan) = planned["04_meta_saes"]
    tokens = [p.n_tokens // 8, p.n_tokens // 2, p.n_tokens]
    steps = sum(n // p.batch_size for n in tokens)
    weights = 65_536 * 2304
    training = 2 * weights * (12 * sum(n // p.batch_size for n in tokens) * p.batch_size + 40 * steps) / scale.OTHERS
    block = 2304 * (2 * 2048 + 2 * 1024 + 3 * 9216)
    model = sum(tokens) * (p.layer + 1) * (2 * block + 4 * plan.context * 2048) / 4e14
    assert many.search == pytest.approx(training + model, rel=1e-3)
    widest = [piece for piece in pieces_of(planned, 80e9) if piece.cells[0].name == "relu 65536"]
    assert many.longest == pytest.approx(sum(scale.seconds_of(planned, scale.THEIRS, widest).values()))
    assert one.once == many.once < 0.01 * many.wall and many.all > one.all  # more passes of the language model


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


def test_a_speed_that_cannot_be_read_ends_in_one_line(scale, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["scale.py", "--throughput", str(tmp_path / "no.yaml")])
    assert scale.main() == 2
    printed = capsys.readouterr()
    assert not printed.out and len(printed.err.splitlines()) == 1 and "no.yaml" in printed.err
