"""Scaling: the fitted exponents are right, and the command writes what it promises."""

import csv

import numpy as np
import pytest

from bench.suites import scaling


def test_exponents_of_known_laws():
    sizes = [1e2, 1e3, 1e4, 1e5, 1e6]
    assert scaling.exponent(sizes, [3 * s**1.5 for s in sizes]) == pytest.approx(1.5)
    more = [*sizes, 1e7, 1e8]  # the fixed costs come first
    assert scaling.exponent(more, [1e-3 + 1e-7 * s for s in more]) == pytest.approx(1, abs=0.02)
    assert scaling.exponent(sizes[:1], [1.0]) is None
    assert scaling.exponent(sizes, [0.0, 0.0, 1.0, 10.0, 100.0]) == pytest.approx(1.0)


def test_one_size_changes_at_a_time():
    for size, sizes in scaling.FULL.items():
        for case, value in zip(scaling.sweep(size, sizes), sizes, strict=True):
            assert case[size] == value
            others = {k: v for k, v in case.items() if k != size}
            if case["d"] < 10_000_000:
                assert others == {k: v for k, v in scaling.BASE.items() if k != size}
    assert scaling.sweep("d", [10_000_000])[0]["N"] == 10


def test_what_does_not_fit_is_left_out_with_a_reason():
    assert scaling.fits(scaling.Case("asmg", 100, 10, 2)) is None
    assert "memory" in scaling.fits(scaling.Case("asmg", 10**9, 10**4, 2))
    assert "too long" in scaling.fits(scaling.Case("cma-full", 10_000, 10, 1))


def test_memory_is_seen():
    stored = scaling.measure_memory(scaling.Case("asmg", 200_000, 20, 2))
    rebuilt = scaling.measure_memory(scaling.Case("regenerate", 200_000, 20, 2))
    population = 200_000 * 20 * 8 / 2**20
    assert population < stored < 3 * population
    assert rebuilt < population


def test_the_command(results, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(scaling, "QUICK", {"d": (50, 200, 800), "m": (1, 3)})
    monkeypatch.setattr(scaling, "BASE", {"d": 100, "N": 10, "m": 2})
    monkeypatch.setattr(scaling, "measure_memory", lambda case: case.population_bytes / 2**20 * 1e3)
    scaling.main(["--quick", "--seconds", "0.01", "--methods", "asmg", "regenerate"])
    rows = list(csv.DictReader((results / "scaling.csv").read_text().splitlines()[2:]))
    sizes = [(r["method"], r["d"], r["m"]) for r in rows]
    ours = [("ASMG", d, "2") for d in ("50", "200", "800")]
    assert sizes[:3] == ours
    assert len(sizes) == 10
    for r in rows:
        assert float(r["ms"]) > 0
        assert float(r["ns / sample"]) == pytest.approx(1e6 * float(r["ms"]) / int(r["d"]) / int(r["N"]))
    fits = list(csv.DictReader((results / "scaling_exponents.csv").read_text().splitlines()[2:]))
    assert [(f["size"], f["method"]) for f in fits] == [
        ("d", "ASMG"),
        ("d", "ASMG regenerate"),
        ("m", "ASMG"),
        ("m", "ASMG regenerate"),
    ]
    assert all(np.isfinite(float(f["time exponent"])) for f in fits)
    assert float(fits[0]["memory exponent"]) == pytest.approx(1.0, abs=0.01)
    assert (results / "scaling_time.figure.json").exists()
