"""Table 4.1's form: prompts tuned through queries, by every method and under three stresses.

``python -m bench.clip`` runs it on the tiny CLIP; ``--layout office-31 --root DIR --model RN50-quickgelu --pretrained
openai`` runs the true Table 4.1 (``office-home`` with ``--popsize 40``). Runs are kept in a CSV file and resumed.
"""

from __future__ import annotations

from bench.common import one_thread

one_thread()

import argparse  # noqa: E402
import functools  # noqa: E402
import itertools  # noqa: E402
from pathlib import Path  # noqa: E402

from bench.common import RESULTS  # noqa: E402

from .cells import Cell, MakeTask, compute  # noqa: E402
from .methods import METHODS, TUNER  # noqa: E402
from .stress import STRESSES, USUAL  # noqa: E402
from .tables import differences, main_table, stress_table  # noqa: E402
from .tasks import folder_task, tiny_task  # noqa: E402

DIMENSIONS, STRESS_DIMENSION = (64, 256, 512), 256
FIRST_SEED = 100  # settings were chosen on seeds below


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--dimensions", type=int, nargs="+", default=DIMENSIONS, help="d, one or more")
    add("--stress-dimension", type=int, default=STRESS_DIMENSION, help="d of the stress columns")
    add("--stresses", nargs="*", choices=[s for s in STRESSES if s != "none"], default=USUAL)
    add("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), metavar="METHOD", help=", ".join(METHODS))
    add("--seeds", type=int, default=6, help="how many")
    add("--first-seed", type=int, default=FIRST_SEED, help="settings were chosen on seeds below the default")
    add("--popsize", type=int, default=20)
    add("--generations", type=int, default=200)
    add("--jobs", type=int, default=1, help="processes")
    add("--part", default="0/1", metavar="I/N", help="only every N-th run from the I-th on, and no tables if N > 1")
    add("--runs", type=Path, default=RESULTS / "clip_runs.csv", help="where runs are kept")
    add("--name", default="clip", help="tables are bench/results/NAME.csv and NAME_*.csv")
    add("--layout", choices=["tiny", "office-31", "office-home", "folders"], default="tiny")
    add("--root", type=Path, help="the image folders")
    add("--lists", type=Path, help="folder of list files")
    add("--model", default="RN50-quickgelu", help="with image folders")
    add("--pretrained", default="openai", help="open_clip's tag, or a checkpoint file")
    add("--device", default="cpu")
    return parser.parse_args()


def task_of(args: argparse.Namespace) -> tuple[str, MakeTask]:
    """Return the name of the task, and what makes it in each process."""
    if args.layout == "tiny":
        return tiny_task()
    if args.root is None:
        raise SystemExit(f"--layout {args.layout} needs --root, the folder of the images.")
    return folder_task(args.root, args.layout, args.lists, args.model, args.pretrained, args.device)


def main() -> None:
    args = arguments()
    data, make_task = task_of(args)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    cell = functools.partial(_cell, data, args)
    plain = [cell(*key) for key in itertools.product(args.methods, args.dimensions, ["none"], seeds)]
    at = [args.stress_dimension]
    stressed = [cell(*key) for key in itertools.product(args.methods, at, ["none", *args.stresses], seeds)]
    wanted = list(dict.fromkeys(plain + (stressed if args.stresses else [])))
    part, parts = map(int, args.part.split("/"))
    outcomes = compute(make_task, wanted[part::parts], args.runs, args.jobs)
    if parts > 1:
        return
    task = make_task()
    tables = [main_table(args.name, outcomes, task, args.methods, args.dimensions)]
    if args.stresses:
        tables.append(stress_table(f"{args.name}_stress", outcomes, args.methods, at[0], args.stresses))
    if TUNER in args.methods:
        tables.append(
            differences(f"{args.name}_paired", outcomes, TUNER, args.methods, args.dimensions, at[0], args.stresses)
        )
    for table in tables:
        table.show()
        print(table.save())


def _cell(data: str, args: argparse.Namespace, method: str, d: int, stress: str, seed: int) -> Cell:
    return Cell(data, method, METHODS[method].settings, d, stress, seed, args.popsize, args.generations)


if __name__ == "__main__":
    main()
