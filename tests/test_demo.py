"""The demo, run end to end in small."""

import json
import struct
import sys
import zlib

import numpy as np
import pytest
from rich.console import Console

from pyasmg.demo import METHODS, DemoReport, DemoRun, run_demo
from pyasmg.problems import DigitsProblem


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """A demo of two generations and one seed: (report, printed text, folder)."""
    folder = tmp_path_factory.mktemp("demo")
    console = Console(record=True, width=140, file=open(folder / "stdout.txt", "w"))  # noqa: SIM115
    report = run_demo(
        n_seeds=1,
        max_evaluations=19,
        popsize=8,
        seed=3,
        png_path=folder / "p.png",
        json_path=folder / "f.json",
        console=console,
    )
    console.file.close()
    return report, console.export_text(), folder


def test_each_method_runs_once_at_the_same_budget(outcome):
    report, _, _ = outcome
    assert [(run.method, run.seed) for run in report.runs] == [(method, 3) for method in METHODS]
    # 19 is rounded down to two generations; the scaling at the start costs CMA-ES one query more
    assert [run.n_queries for run in report.runs] == [16, 16, 17]
    assert report.settings == {"n_seeds": 1, "max_evaluations": 16, "popsize": 8, "sigma0": 0.05, "seed": 3}
    assert all(0 < run.seconds < 60 for run in report.runs)


def test_figures_are_those_of_the_answers(outcome):
    report, _, _ = outcome
    problem = DigitsProblem(seed=3)
    for run, row in zip(report.runs, report.rows(), strict=True):
        x = np.array(run.x)
        assert x.shape == (650,)
        assert np.any(x != problem.initial_point())
        np.testing.assert_allclose(run.losses, problem(x), rtol=1e-6)
        accuracies = problem.test_accuracy(x)
        assert run.accuracies == accuracies.tolist()
        assert row["method"] == run.method
        np.testing.assert_allclose(row["domains"], 100 * accuracies)
        assert row["worst"] == pytest.approx(100 * accuracies.min())
        assert row["average"] == pytest.approx(100 * accuracies.mean())
        assert row["queries"] == run.n_queries


def test_histories(outcome):
    report, _, _ = outcome
    for run in report.runs:
        shift = run.n_queries - 16
        assert [moment["queries"] for moment in run.history] == [8 + shift, 16 + shift]
        for moment in run.history:
            assert len(moment["losses"]) == 4
            assert np.all(np.isfinite(moment["losses"]))
            if run.method == "CMA-ES (sum)":
                assert moment["weights"] is None
            else:
                assert min(moment["weights"]) >= 0
                assert sum(moment["weights"]) == pytest.approx(1)
            if run.method == "ASMG (equal)":
                np.testing.assert_allclose(moment["weights"], 0.25)


def test_the_first_generations_mean_loss_is_that_of_the_queries(outcome):
    """The history holds the mean of the population, not of the answers."""
    report, _, _ = outcome
    assert all(np.all(np.abs(np.array(run.history[0]["losses"]) - np.log(10)) < 0.5) for run in report.runs)


def test_the_table_is_printed_with_the_pairs_below(outcome):
    report, text, folder = outcome
    lines = text.splitlines()
    for row in report.rows():
        line = next(line for line in lines if row["method"] in line and " - " not in line)
        expected = [f"{v:.1f}" for v in (*row["domains"], row["worst"], row["average"])]
        assert line.split()[-8:-1] == [*expected, f"{row['queries']:,.0f}"]
    assert "popsize 8 and sigma0 0.05 for every method" in text
    for method in METHODS[1:]:
        assert f"{METHODS[0]} - {method}, in points (each seed): worst " in text
    assert str(folder / "p.png") in text.replace("\n", "")


def test_the_json_holds_the_report(outcome):
    report, _, folder = outcome
    stored = json.loads((folder / "f.json").read_text())
    assert stored == report.as_dict()
    assert set(stored) == {"settings", "domain_names", "table", "paired_differences", "runs"}
    assert stored["domain_names"] == list(DigitsProblem.domain_names)


def test_the_picture_is_a_png_with_ink_on_it(outcome):
    data = (outcome[2] / "p.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    position, pixels = 8, b""
    while position < len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        kind, body = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        (check,) = struct.unpack(">I", data[position + 8 + length : position + 12 + length])
        assert zlib.crc32(kind + body) == check
        if kind == b"IHDR":
            width, height = struct.unpack(">II", body[:8])
        elif kind == b"IDAT":
            pixels += body
        position += length + 12
    assert kind == b"IEND"
    assert width > 1000
    assert height > 500
    assert len(set(zlib.decompress(pixels))) > 50


def test_no_pyplot_and_no_global_random_state(tmp_path):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    options = {"n_seeds": 1, "max_evaluations": 4, "popsize": 4, "console": Console(quiet=True)}
    reports = [run_demo(png_path=None, json_path=None, **options) for _ in range(2)]
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert [run.x for run in reports[0].runs] == [run.x for run in reports[1].runs]
    assert not list(tmp_path.iterdir())


def report_of(accuracies):
    """A report with the given accuracies, (method, seed, domain)."""
    runs = tuple(
        DemoRun(method, seed, accuracies=list(values), n_queries=10 + seed, seconds=1.0)
        for method, seeds in zip(METHODS, accuracies, strict=True)
        for seed, values in enumerate(seeds)
    )
    return DemoReport({"n_seeds": 2, "seed": 0}, DigitsProblem.domain_names, runs)


def test_worst_is_the_mean_of_each_seeds_worst_and_differences_are_paired():
    report = report_of(
        [
            [[0.9, 0.5, 0.8, 0.8], [0.5, 0.9, 0.8, 0.8]],
            [[0.9, 0.4, 0.8, 0.9], [0.9, 0.9, 0.2, 0.9]],
            [[0.6, 0.6, 0.6, 0.6], [0.7, 0.7, 0.7, 0.7]],
        ]
    )
    ours = report.rows()[0]
    np.testing.assert_allclose(ours["domains"], [70, 70, 80, 80])
    assert ours["worst"] == pytest.approx(50)
    assert ours["average"] == pytest.approx(75)
    assert ours["queries"] == 10.5
    equal, cma = report.paired_differences()
    assert (equal["against"], cma["against"]) == METHODS[1:]
    np.testing.assert_allclose(equal["worst"], [10, 30])
    np.testing.assert_allclose(equal["average"], [0, 2.5])
    np.testing.assert_allclose(cma["worst"], [-10, -20])
    np.testing.assert_allclose(cma["average"], [15, 5])


@pytest.mark.parametrize("module", ["cma", "matplotlib.figure", "sklearn.datasets"])
def test_a_missing_extra_is_told_before_anything_runs(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("pyasmg.demo.DigitsProblem", None)
    with pytest.raises(ImportError, match=r'pip install "pyasmg\[demo\]"'):
        run_demo(png_path=None, json_path=None)


@pytest.mark.parametrize(
    "option",
    [
        {"n_seeds": 0},
        {"popsize": 3},
        {"max_evaluations": 23},
        {"seed": -1},
        {"sigma0": 0.0},
        {"sigma0": np.nan},
    ],
)
def test_refuses_in_words(option):
    (name,) = option
    with pytest.raises(ValueError, match=rf"^`{name}` must be "):
        run_demo(**option)


def test_a_missing_folder_is_told_before_anything_runs(monkeypatch, tmp_path):
    monkeypatch.setattr("pyasmg.demo.DigitsProblem", None)
    for option in ("png_path", "json_path"):
        paths = {"png_path": None, "json_path": None, option: tmp_path / "nowhere" / "file"}
        with pytest.raises(FileNotFoundError, match=r"'file' to: .*nowhere"):
            run_demo(**paths)
