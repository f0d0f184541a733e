"""MO-Gymnasium: direct search for linear policies on MuJoCo's half-cheetah, hopper and swimmer.

The policy is clip(W normalised observation), its parameters W start at 0 with sigma0 = 0.2; the objectives are minus
the vector return of one episode. All candidates of a generation start in the same state, each generation in another.
Observations are normalised by the running mean and deviation of all earlier generations. Every method gets the same
population size, so the same number of episodes. Episodes are played in worker processes (``--jobs``).

How to read the table: return of the recommended policy per objective, mean of four test episodes whose start states no
search has seen, then median over the seeds; higher is better. ``sum`` is the scalar that pycma maximises: the rewards
added up, the cost of control times the weight that Gymnasium gives it. ASMG and ASMG-EW are told the objectives, and
look for a policy that no other beats in all of them; "ASMG, sum" is told the scalar, as pycma is.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench import common

common.one_thread()

import numpy as np  # noqa: E402

from bench.harness import (  # noqa: E402
    OPTIMIZERS,
    Problem,
    Run,
    Task,
    available,
    missing,
    parse,
    parser,
    run_all,
    save_runs,
    select,
    show_settings,
    trace_figure,
)
from bench.harness.optimizers import Entry  # noqa: E402

OPTIMIZERS["asmg-sum"] = Entry("ASMG, sum", "bench.baselines.asmg:Asmg", None, "sum", "pyasmg's defaults, m = 1")

METHODS = ("asmg", "asmg-ew", "asmg-sum", "cma-diagonal")
RETURNS = {
    "mo-halfcheetah-v5": ("forward", "control"),
    "mo-hopper-v5": ("forward", "height", "control"),
    "mo-swimmer-v5": ("forward", "control"),
}
QUICK, FULL = ("mo-halfcheetah-v5", 100, 60, 12), (None, 300, 200, 16)  # environment, steps, generations, N
EVERY = 10  # generations from one test of the recommended policy to the next
TESTS = 4
SUM = "minus summed return"
jobs = 1  # worker processes; set by main


def make_problem(name: str, d: int) -> Problem:
    """Return ``"ENVIRONMENT, STEPS steps"``."""
    from ._gym_policy import Normaliser, Order, Players, sizes, units

    environment, _, rest = name.partition(", ")
    steps = int(rest.split()[0])
    n_actions, n_observations, m = sizes(environment, steps)
    if n_actions * n_observations != d:
        raise ValueError(f"`d` must be {n_actions} * {n_observations}; got {d}.")
    unit = units(environment, steps)
    players = Players(jobs)
    run = {"seed": 0, "generation": 0}
    normaliser = [Normaliser(n_observations)]
    known: dict[int, dict[str, float]] = {}

    def play(X: np.ndarray, seeds: Sequence[int]) -> list:
        shift, scale = normaliser[0].shift, normaliser[0].scale
        return players.play([Order(environment, steps, x, shift, scale, seed) for x in X for seed in seeds])

    def begin(seed: int) -> np.ndarray:
        run.update(seed=seed, generation=0)
        normaliser[0] = Normaliser(n_observations)
        known.clear()
        return np.zeros(d)

    def evaluate(X: np.ndarray) -> np.ndarray:
        episodes = play(X, [1_000_000 * (run["seed"] + 1) + run["generation"]])
        normaliser[0].learn(episodes)
        run["generation"] += 1
        return -unit * np.array([episode.returns for episode in episodes])

    def measures(points: np.ndarray) -> dict[str, float]:
        generation = run["generation"] - run["generation"] % EVERY
        if generation not in known:  # the first call after generations 0, EVERY, 2 EVERY, ...
            returns = np.mean([episode.returns for episode in play(points[:1], range(TESTS))], axis=0)
            named = dict(zip(RETURNS[environment], map(float, returns), strict=True))
            known[generation] = {SUM: -float(unit @ returns), **named}
        return known[generation]

    return Problem(name, d, m, evaluate, begin, measures, sigma0=0.2)


def make_tasks(methods: Sequence[str], seeds: int, quick: bool) -> list[Task]:
    """Return the runs: the same number of episodes for all."""
    from ._gym_policy import sizes

    one, steps, generations, popsize = QUICK if quick else FULL
    tasks = []
    for environment in [one] if one else RETURNS:
        n_actions, n_observations, _ = sizes(environment, steps)
        tasks += [
            Task(
                __name__, f"{environment}, {steps} steps", n_actions * n_observations, method, popsize, seed,
                popsize * generations,
            )
            for method in methods
            for seed in range(seeds)
        ]  # fmt: skip
    return tasks


def make_table(runs: Sequence[Run]) -> common.Table:
    """Return one row per (environment, method)."""
    columns = ["environment", "d", "method", "episodes", "forward", "height", "control", "sum", "better in all than"]
    table = common.Table("gym", columns, "Return of the recommended policy, median over the seeds (higher is better)")
    for problem in dict.fromkeys(r.task.problem for r in runs):
        inside = select(runs, problem=problem)
        names = RETURNS[problem.partition(",")[0]]
        medians = {}
        for method in dict.fromkeys(r.task.optimizer for r in inside):
            cell = select(inside, optimizer=method)
            medians[method] = {n: float(np.median([r.measures[n] for r in cell])) for n in (*names, SUM)}
        for method, values in medians.items():
            beaten = [
                OPTIMIZERS[other].label
                for other, theirs in medians.items()
                if other != method and all(values[n] > theirs[n] for n in names)
            ]
            cells = [values.get(n, "-") for n in ("forward", "height", "control")]
            task = select(inside, optimizer=method)[0].task
            label = OPTIMIZERS[method].label
            table.add(problem, task.d, label, task.budget, *cells, -values[SUM], ", ".join(beaten) or "none")
    return table


def summarise(table: common.Table) -> None:
    """Print where a peer's summed return is more than 20 % above that of the default mode."""
    for environment in dict.fromkeys(row[0] for row in table.rows):
        rows = {row[2]: row for row in table.rows if row[0] == environment}
        ours = rows.pop("ASMG", None)
        for label, row in rows.items() if ours else ():
            behind = row[-2] - ours[-2] > 0.2 * abs(row[-2])
            word = f"BEHIND {label} by more than 20 %" if behind else f"not more than 20 % behind {label}"
            print(f"{environment}: ASMG's summed return {ours[-2]:.4g} against {row[-2]:.4g}: {word}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the suite, print the table, write CSV and PNG."""
    global jobs
    command = parser("gym", __doc__, METHODS)
    options = parse(command, arguments, seeds=(3, 3))
    for package in ("mo_gymnasium", "mujoco"):
        line = missing(package)
        if line:
            print(f"suite gym skipped: {line}.")
            return
    jobs = options.jobs
    methods = available(options.optimizers)
    # The runs one after the other: the worker processes play the episodes.
    runs = run_all(make_tasks(methods, options.seeds, options.quick), 1, fresh=options.fresh)
    table = make_table(runs)
    table.show()
    table.save()
    show_settings(methods)
    save_runs(runs, "gym_runs")
    note = f"Mean of {TESTS} test episodes every {EVERY} generations, median and quartiles over the seeds."
    trace_figure(
        "gym", "MO-Gymnasium, linear policies", SUM, runs, lambda r: r.task.problem, note=note, log_x=False,
        log_y=False,
    ).save()  # fmt: skip
    summarise(table)
    print(f"{sum(r.seconds for r in runs):,.0f} s of searching in all")
