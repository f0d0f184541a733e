"""``python -m bench``: what is listed is run, and what is not there is said."""

import pytest

from bench import __main__ as command
from bench.harness.registry import benchmarks


def test_list_has_suites_and_what_was_there_before(capsys):
    assert command.main(["list"]) == 0
    out = capsys.readouterr().out
    for name in (
        "paper [--quick]",
        "pymoo [--quick]",
        "scaling [--quick]",
        "convergence [--quick]",
        "kill",
        "mtl.toy [--quick]",
    ):
        assert f"\n{name}\n" in f"\n{out}", name
    assert "hostile_child" not in out
    assert "thesis's figures 4.1-4.4" in out
    for benchmark in benchmarks().values():
        assert benchmark.title.endswith((".", ":")) or benchmark.title, benchmark.name
        assert not benchmark.suite or benchmark.quick


def test_an_unknown_name_and_no_name(capsys):
    assert command.main(["run", "nonsense"]) == 2
    assert "no benchmark 'nonsense'; there are: " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["run"])
    assert "run needs the name of a benchmark" in capsys.readouterr().err


def test_arguments_reach_a_benchmark_that_stands_alone(monkeypatch):
    calls = []

    class Done:
        returncode = 3

    monkeypatch.setattr(command.subprocess, "run", lambda line, check: calls.append(line) or Done)
    assert command.main(["run", "convergence", "--quick"]) == 3
    assert calls[0][1:] == ["-m", "bench.convergence", "--quick"]


def test_all_goes_on_after_a_failure_and_says_so(monkeypatch, capsys):
    asked = []

    class Ended:
        def __init__(self, returncode):
            self.returncode = returncode

    def start(line, check):
        asked.append(line[4])
        return Ended(int(line[4] == "paper"))

    monkeypatch.setattr(command.subprocess, "run", start)
    assert command.main(["run", "all", "--quick"]) == 1
    assert {"paper", "pymoo", "scaling", "convergence", "qp"} <= set(asked)
    assert "mtl.celeba" not in asked  # needs a data folder
    assert "failed: paper" in capsys.readouterr().out
