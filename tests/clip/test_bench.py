"""The benchmark's own arithmetic, on a small task."""

import numpy as np
import pytest

import pyasmg
from bench.clip import cells, tables
from bench.clip.__main__ import main as command
from bench.clip.methods import METHODS, Start, Summed, asmg
from bench.clip.run import Outcome, Setting, run, zero_shot
from bench.clip.stress import Objectives
from bench.clip.white_box import white_box

from .models_on_disk import saved_model
from .small import task
from .test_folders import fabricate

QUICK = Setting(popsize=6, generations=3)


@pytest.fixture(scope="module")
def small():
    return task()


def test_a_run_is_repeatable_and_paired(small):
    one = run(small, METHODS["ASMG-EW"], 5, 3, setting=QUICK)
    again = run(small, METHODS["ASMG-EW"], 5, 3, setting=QUICK)
    assert (one.losses, one.accuracies, one.n_queries) == (again.losses, again.accuracies, 18)
    assert one.losses != run(small, METHODS["ASMG-EW"], 5, 4, setting=QUICK).losses
    assert one.losses != zero_shot(small).losses


def test_units_do_not_reach_scaled_methods(small):
    plain, stressed = (run(small, METHODS["ASMG-EW"], 5, 3, stress, QUICK) for stress in ("none", "units"))
    assert plain.losses == pytest.approx(stressed.losses, rel=1e-5)


def test_stresses(small):
    prompts = np.stack([small.start] * 200)[:64]
    plain = Objectives(small, "none", 0).losses(prompts, 1)
    for name, units, columns in (("", [1.0, 20.0], [0, 1, 1, 1, 1, 1]), (" first", [20.0, 1.0], [0, 1, 0, 0, 0, 0])):
        assert np.array_equal(Objectives(small, f"units{name}", 0).losses(prompts, 1), plain * units)
        assert np.array_equal(Objectives(small, f"duplicates{name}", 0).losses(prompts, 1), plain[:, columns])
    failing = Objectives(small, "failures", 0)
    failed = np.isnan(np.concatenate([failing.losses(prompts, i) for i in range(20)]))
    assert np.array_equal(failed.all(axis=1), failed.any(axis=1))
    assert failed.mean() == pytest.approx(0.1, abs=0.03)
    assert np.array_equal(Objectives(small, "units", 0).seen(plain), plain)  # accuracies have no units
    with pytest.raises(ValueError, match="`stress` must be one of"):
        Objectives(small, "noise", 0)


class Recorder:
    popsize = 3
    mean = np.zeros(2)

    def ask(self):
        return np.zeros((4, 2))

    def tell(self, X, f):
        self.f = f


def test_the_scaled_sum_has_no_units():
    rng = np.random.default_rng(0)
    plain, scaled = (Summed(Recorder(), scaled=True) for _ in range(2))
    raw = Summed(Recorder(), scaled=False)
    for _ in range(3):
        F = rng.normal(size=(4, 2))
        for search, unit in ((plain, 1.0), (scaled, 1e6), (raw, 1e6)):
            search.tell(np.zeros((4, 2)), F * [unit, 1.0])
    np.testing.assert_allclose(plain._search.f, scaled._search.f, rtol=1e-12)
    np.testing.assert_allclose(raw._search.f, (F * [1e6, 1.0]).sum(axis=1))


def test_only_a_failed_centre_is_filled_in():
    search = Summed(Recorder(), scaled=False)
    search.tell(np.zeros((4, 2)), np.array([[np.nan, np.nan], [1, 2], [np.nan, np.nan], [3, 4.0]]))
    np.testing.assert_array_equal(search._search.f, [5.0, 3.0, np.nan, 7.0])


def test_options_may_depend_on_the_start():
    method = asmg(weighting=lambda start: {"name": "level", "reference": start.losses.tolist()}, step_size=0.5)
    search = method.make(4, 6, 0, Start(np.array([1.0, 2.0]), np.array([0.5, 0.5])))
    assert isinstance(search, pyasmg.ASMG)
    assert search.popsize == 6
    assert "step_size=0.5" in method.settings


def test_runs_are_kept_and_resumed(tmp_path, monkeypatch, capsys):
    path = tmp_path / "runs.csv"
    wanted = [cells.Cell("small", "ASMG-EW", METHODS["ASMG-EW"].settings, 4, "none", seed, 6, 2) for seed in (0, 1)]
    first = cells.compute(task, wanted[:1], path, 1)
    with path.open("a") as file:
        file.write("small,ASMG-EW,cut of")  # killed while writing
    assert cells.read(path) == first
    ran = []
    monkeypatch.setattr(cells, "_run", lambda cell: ran.append(cell) or first[wanted[0]])
    both = cells.compute(task, wanted, path, 1)
    assert ran == wanted[1:]
    assert both[wanted[0]] == first[wanted[0]]
    assert cells.read(path) == both
    assert "1 of 2 runs are in" in capsys.readouterr().out


def test_tables():
    def outcome(shift):
        return Outcome((0.5 - shift, 0.7), (80.0 + shift, 60.0), 40, 1.0)

    def cell(method, seed, stress="none"):
        return cells.Cell("small", method, "", 4, stress, seed, 6, 2)

    shifts = {("a", 0): 0.0, ("a", 1): 2.0, ("b", 0): 1.0, ("b", 1): 1.0}
    outcomes = {cell(*key): outcome(shift) for key, shift in shifts.items()}
    values = tables.by_seed(outcomes, "a", 4, "none")
    np.testing.assert_allclose(values, [[70, 60, 0.6], [71, 60, -0.4]])
    assert tables.cells_of(values)[0] == "70.50 ± 0.50"
    paired = tables.differences("x", outcomes, "a", ["a", "b"], [4], 4, [])
    assert paired.rows == [["b", 4, "none", "0.00 ± 0.50", "0.00 ± 0.00", "0.0000 ± 0.5000"]]


def test_the_ceiling_is_lower_than_the_start(small):
    prompt = white_box(small, n_steps=20)
    assert small.losses(prompt[None])[0].sum() < small.losses(small.start[None])[0].sum()


def test_the_command_on_image_folders(tmp_path, monkeypatch, capsys):
    root, model = fabricate(tmp_path / "images", "office-31", n=5), tmp_path / "model"
    model.mkdir()
    saved_model(model)
    monkeypatch.setattr("bench.common.RESULTS", tmp_path / "results")
    options = f"--layout office-31 --root {root} --model {model} --dimensions 4 --stress-dimension 4 --seeds 2"
    options += f" --popsize 4 --generations 2 --runs {tmp_path / 'runs.csv'} --stresses units --methods"
    methods = ["ASMG, level", "ASMG-EW"]
    monkeypatch.setattr("sys.argv", ["bench.clip", *options.split(), *methods, "--part", "1/2"])
    command()
    assert len(cells.read(tmp_path / "runs.csv")) == 4
    assert not (tmp_path / "results").exists()
    monkeypatch.setattr("sys.argv", ["bench.clip", *options.split(), *methods])
    command()
    assert len(cells.read(tmp_path / "runs.csv")) == 8
    printed = capsys.readouterr().out
    assert "4 of 8 runs are in" in printed
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        "clip.csv",
        "clip_stress.csv",
        "clip_paired.csv",
    }
    rows = (tmp_path / "results" / "clip.csv").read_text().splitlines()
    first = [row.split(",")[0] for row in rows[3:]]
    assert first == ["zero-shot", "white box (gradients)", '"ASMG', "ASMG-EW"]
