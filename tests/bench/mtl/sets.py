"""Each benchmark with a small fabricated set, and the options that make a run short."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from bench.mtl.celeba import CelebA
from bench.mtl.cityscapes import Cityscapes
from bench.mtl.data.dense import CITYSCAPES, NYUV2
from bench.mtl.data.office import OFFICE_31, OFFICE_HOME
from bench.mtl.harness import cli
from bench.mtl.harness.baselines import Baselines
from bench.mtl.harness.benchmark import Benchmark
from bench.mtl.harness.run import Run
from bench.mtl.nyuv2 import NYUv2
from bench.mtl.office31 import Office31
from bench.mtl.office_home import OfficeHome
from bench.mtl.qm9 import QM9

from . import fabricated

NARROW = ["--widths", "2", "4", "4", "4", "4"]
DENSE = {"train": 4, "val": 2}


def nyuv2(folder: Path) -> list[str]:
    fabricated.dense(folder, NYUV2, DENSE)
    return ["--root", str(folder), "--batch-size", "2", *NARROW]


def cityscapes(folder: Path) -> list[str]:
    fabricated.dense(folder, CITYSCAPES, DENSE)
    return ["--root", str(folder), "--batch-size", "2", *NARROW]


def celeba(folder: Path) -> list[str]:
    fabricated.celeba(folder, (4, 2, 2))
    return ["--root", str(folder), "--batch-size", "2"]


def qm9(folder: Path) -> list[str]:
    fabricated.qm9(folder)
    return ["--root", str(folder), "--batch-size", "6", "--held-out", "4", "--width", "8"]


def office31(folder: Path) -> list[str]:
    fabricated.office(folder, folder, OFFICE_31)
    return ["--root", str(folder), "--batch-size", "3", "--image-size", "32"]


def office_home(folder: Path) -> list[str]:
    fabricated.office(folder, folder / "lists", OFFICE_HOME)
    return ["--root", str(folder), "--lists", str(folder / "lists"), "--batch-size", "3", "--image-size", "32"]


SETS: dict[str, tuple[type[Benchmark], Callable[[Path], list[str]]]] = {
    "nyuv2": (NYUv2, nyuv2),
    "cityscapes": (Cityscapes, cityscapes),
    "celeba": (CelebA, celeba),
    "qm9": (QM9, qm9),
    "office31": (Office31, office31),
    "office_home": (OfficeHome, office_home),
}


def run(name: str, arguments: list[str], *more: str) -> int:
    """Run a benchmark and return its exit status."""
    return cli.main(SETS[name][0](), [*arguments, *more])


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table below its two lines of comment."""
    first, second, *lines = path.read_text().splitlines()
    assert first.startswith("# python -m ")
    assert second.startswith("# ")
    return list(csv.DictReader(lines))


def trained(name, arguments, *more, epochs=1):
    """Return a run after so many more epochs, and the weights before them; resumed, if there is a checkpoint."""
    benchmark = SETS[name][0]()
    command = cli.parser(benchmark)
    options = command.parse_args([*arguments, *more])
    cli._validate(command, benchmark, options)
    assert not benchmark.check(options).problems
    found = Run(benchmark, benchmark.load(options), Baselines(benchmark, benchmark.single_task), options, 0)
    found.resume()
    before = {key: value.clone() for key, value in found.network.state_dict().items()}
    found.epochs(found.epoch + epochs)
    return found, before
