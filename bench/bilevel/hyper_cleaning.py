"""Multi-task data hyper-cleaning: accuracy, F1 and how well the learned weights tell clean from corrupted samples.

    python -m bench.bilevel.hyper_cleaning [--data FOLDER] [--seeds 5] [--methods FORUM ...] [--iterations K] [--quick]

Without ``--data``: scikit-learn's digits in two domains (as they are; turned by 90 degrees and noisy), 900 training
samples each of which half have a wrong label, a network 64-64-32, T = 16 lower steps. With ``--data``, a folder that
holds the IDX files of MNIST and FashionMNIST: the sizes, the network 784-512-256 and the settings of the thesis
(sec. 3.7.1: batches of 100, T = 64, K = 1200, alpha by SGD with the rate 10, omega by SGD with the rate 0.3,
lower rate 0.3, rho = 0.5); compare with Table 3.2. The learning rates are the same in both.

The state with the best mean accuracy on a second validation set (every tenth of the run) is the one that is tested,
for all methods alike. The bilevel methods learn sample weights from the first validation set. MOML and MoCo take
their lower steps as a look-ahead and train omega by SGD, as the thesis describes it; "omega_T" is their Algorithm 1 to
the letter, where omega becomes the end of the lower steps. Beside them: training on the corrupted samples, equally
weighted or by MGDA ("corrupted"; "last" is the state at the end, which no clean data have chosen), on the clean ones
among them ("clean", what cannot be had), and on the first validation set alone ("validation"), for as many steps as the
bilevel methods take in omega. AUC is the probability that a clean sample has a larger weight than a corrupted one.
Standard errors are over seeds; each seed draws data, corruption, initial network and batches, the same for all methods.
"""

# ruff: noqa: E402  (threads are set before numpy is imported)

from __future__ import annotations

from bench.common import Table, machine, one_thread

one_thread()

import argparse
import copy
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import pyasmg.mtl as mtl
from bench.bilevel.cleaning_data import Cleaning, digits, mnist
from bench.bilevel.cleaning_problem import HyperCleaning, Network, Samples
from pyasmg.mtl import bilevel

#: Accuracy (%) and F1 of Table 3.2, on MNIST and FashionMNIST.
THESIS = {
    "MOML": (88.64, 88.61, 80.64, 80.60),
    "MoCo": (88.05, 88.03, 80.94, 80.67),
    "FORUM": (90.81, 90.81, 82.07, 81.72),
}


@dataclass(frozen=True)
class Settings:
    """Of a run; the defaults are those of the thesis."""

    hidden: tuple[int, ...] = (512, 256)
    batch: int = 100
    lower_steps: int = 64
    iterations: int = 1200
    alpha_rate: float = 10.0
    omega_rate: float = 0.3
    lower_rate: float = 0.3
    rho: float = 0.5


DIGITS = Settings(hidden=(64, 32), lower_steps=16, iterations=400)
QUICK = Settings(hidden=(16,), lower_steps=2, iterations=10, batch=50)


@dataclass(frozen=True)
class Outcome:
    """Of one run: per domain accuracy and F1 in percent, AUC of the weights (NaN where none are learned), seconds."""

    accuracy: np.ndarray
    f1: np.ndarray
    auc: float
    seconds: float


class Run:
    """One seed of one method.

    Parameters
    ----------
    data : Cleaning
        The data.
    settings : Settings
        The settings.
    seed : int
        Of the network and the batches.
    """

    def __init__(self, data: Cleaning, settings: Settings, seed: int) -> None:
        torch.manual_seed(seed)
        self.data, self.settings = data, settings
        self.network = Network((data.inputs["train"].shape[-1], *settings.hidden), data.n_domains)
        self.problem = HyperCleaning(data, self.network)
        self.alpha = torch.zeros(data.n_domains, data.n_train)
        shape = (data.n_domains, settings.batch)
        self.batches = bilevel.Batches(
            upper=Samples(data.labels["validation"].shape[1], *shape, seed=2 * seed),
            lower=Samples(data.n_train, *shape, seed=2 * seed + 1),
        )
        self.alpha_optimizer = torch.optim.SGD([self.alpha], lr=settings.alpha_rate)
        self.omega_optimizer = torch.optim.SGD(self.network.parameters(), lr=settings.omega_rate)

    def method(self, name: str, by_sgd: bool) -> bilevel.BilevelMethod:
        """Return a bilevel method with the settings; ``by_sgd``: with an optimizer for omega."""
        settings = self.settings
        options: dict[str, Any] = {"omega_optimizer": self.omega_optimizer} if by_sgd else {}
        if name in ("FORUM", "BOME"):
            options["rho"] = settings.rho
        return bilevel.METHODS[name](
            self.problem,
            self.alpha,
            self.network,
            alpha_optimizer=self.alpha_optimizer,
            lower_steps=settings.lower_steps,
            lower_learning_rate=settings.lower_rate,
            **options,
        )

    def train(self, step: Callable[[], Any], iterations: int, select: bool = True) -> tuple[list[Tensor], Tensor]:
        """Take the steps; return the parameters and alpha that were best on the second validation set, or the last."""
        best, kept = -1.0, self._state()
        every = max(1, iterations // 10)
        for k in range(1, iterations + 1):
            step()
            if k == iterations and not select:
                return self._state()
            if k % every == 0 and select:
                score = float(self.scores("selection")[0].mean())
                if score > best:
                    best, kept = score, self._state()
        return kept

    def scores(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Return accuracy and macro F1 in percent, per domain."""
        with torch.no_grad():
            guesses = self.network(self.data.inputs[part]).argmax(dim=-1)
        labels = self.data.labels[part]
        accuracy = 100.0 * (guesses == labels).double().mean(dim=1).numpy()
        return accuracy, np.array([macro_f1(*pair) for pair in zip(labels.numpy(), guesses.numpy(), strict=True)])

    def outcome(self, kept: tuple[list[Tensor], Tensor], learned: bool, seconds: float) -> Outcome:
        """Test what was kept."""
        with torch.no_grad():
            for parameter, value in zip(self.network.parameters(), kept[0], strict=True):
                parameter.copy_(value)
        accuracy, f1 = self.scores("test")
        return Outcome(accuracy, f1, auc(kept[1], self.data.clean) if learned else float("nan"), seconds)

    def _state(self) -> tuple[list[Tensor], Tensor]:
        return [parameter.detach().clone() for parameter in self.network.parameters()], self.alpha.clone()


def macro_f1(labels: np.ndarray, guesses: np.ndarray) -> float:
    """Return the mean F1 over the classes that occur, in percent."""
    found = []
    for value in np.unique(labels):
        both = float(((labels == value) & (guesses == value)).sum())
        found.append(2.0 * both / float((labels == value).sum() + (guesses == value).sum()))
    return 100.0 * float(np.mean(found))


def auc(weights: Tensor, clean: Tensor) -> float:
    """Return the probability that a clean sample has a larger weight than a corrupted one; ties count half."""
    values, right = weights.flatten().double().numpy(), clean.flatten().numpy()
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - 0.5 * (counts - 1))[inverse]
    n, k = int(right.sum()), int((~right).sum())
    return float((ranks[right].sum() - 0.5 * n * (n + 1)) / (n * k))


def bilevel_run(name: str, by_sgd: bool = True) -> Callable[[Cleaning, Settings, int], Outcome]:
    """Return a run of a bilevel method."""

    def start(data: Cleaning, settings: Settings, seed: int) -> Outcome:
        run = Run(data, settings, seed)
        method = run.method(name, by_sgd)
        begin = time.process_time()
        kept = run.train(lambda: method.step(run.batches), settings.iterations)
        return run.outcome(kept, True, time.process_time() - begin)

    return start


def plain_run(
    part: str, balancer: type[mtl.Balancer], select: bool = True
) -> Callable[[Cleaning, Settings, int], Outcome]:
    """Return a run of training on one part of the data: "train" (corrupted), "clean", or "validation"."""

    def start(data: Cleaning, settings: Settings, seed: int) -> Outcome:
        if part == "clean":
            data = only_clean(data)
        run = Run(data, settings, seed)
        chosen = balancer(data.n_domains)
        source = "validation" if part == "validation" else "train"
        draw = run.batches.next_upper if part == "validation" else run.batches.next_lower
        omega = dict(run.network.named_parameters())

        def step() -> None:
            run.omega_optimizer.zero_grad()
            losses = run.problem.losses(omega, source, draw()).mean(dim=1)
            heads = [head.parameters() for head in run.network.heads]
            chosen.backward(list(losses.unbind()), shared=run.network.trunk.parameters(), heads=heads)
            run.omega_optimizer.step()

        begin = time.process_time()
        kept = run.train(step, settings.iterations, select)
        return run.outcome(kept, False, time.process_time() - begin)

    return start


def only_clean(data: Cleaning) -> Cleaning:
    """Return the data without the corrupted samples."""
    found = copy.copy(data.inputs), copy.copy(data.labels)
    for part in found:
        part["train"] = torch.stack([rows[mask] for rows, mask in zip(part["train"], data.clean, strict=True)])
    return Cleaning(*found, torch.ones(found[1]["train"].shape, dtype=torch.bool), data.names)


RUNS = {
    **{name: bilevel_run(name) for name in ("FORUM", "MOML", "MoCo", "BOME", "BVFIM")},
    **{f"{name}, omega_T": bilevel_run(name, False) for name in ("MOML", "MoCo")},
    "corrupted, EW": plain_run("train", mtl.EW),
    "corrupted, MGDA": plain_run("train", mtl.MGDA),
    "corrupted, EW, last": plain_run("train", mtl.EW, select=False),
    "validation, EW": plain_run("validation", mtl.EW),
    "clean, EW": plain_run("clean", mtl.EW),
}


def table_of(found: dict[str, list[Outcome]], names: tuple[str, ...], on_files: bool) -> Table:
    """One row per method: means and standard errors over the seeds."""
    per_domain = [f"{what} {name}" for name in names for what in ("accuracy", "F1")]
    columns = ["method", *per_domain, "accuracy", "+-", "F1", "+- F1", "AUC", "seconds"]
    table = Table("bilevel_hyper_cleaning", [*columns, *(["thesis"] if on_files else [])], "Hyper-cleaning: test set")
    for name, runs in found.items():
        accuracy, f1 = np.array([run.accuracy for run in runs]), np.array([run.f1 for run in runs])
        domains = np.stack([accuracy.mean(axis=0), f1.mean(axis=0)], axis=1).ravel().tolist()
        overall = [statistic for values in (accuracy, f1) for statistic in mean_and_error(values.mean(axis=1))]
        cells = [*domains, *overall, float(np.mean([run.auc for run in runs]))]
        cells.append(float(np.mean([run.seconds for run in runs])))
        table.add(name, *cells, *([str(THESIS.get(name, ""))] if on_files else []))
    return table


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Return the mean and its standard error."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return float(values.mean()), float(error)


def acceptance(found: dict[str, list[Outcome]]) -> list[tuple[str, bool]]:
    """Return what was to be shown, and whether it was."""
    lines = []
    for what in ("accuracy", "f1"):
        scores = {name: np.array([getattr(run, what).mean() for run in runs]) for name, runs in found.items()}
        own, error = mean_and_error(scores["FORUM"]) if "FORUM" in scores else (np.nan, np.nan)
        for other in ("MOML", "MoCo"):
            if "FORUM" in scores and other in scores:
                theirs, their_error = mean_and_error(scores[other])
                margin = max(error, their_error)
                text = f"FORUM's {what} {own:.2f} is level with {other}'s {theirs:.2f} within {margin:.2f}"
                lines.append((text, own >= theirs - margin))
        stops = {"corrupted, EW, last": "", "corrupted, EW": ", where clean data stop the training on corrupted ones"}
        for baseline, where in stops.items() if what == "accuracy" else ():
            for name in ("FORUM", "MOML", "MoCo"):
                if name in scores and baseline in scores:
                    gain = float(scores[name].mean() - scores[baseline].mean())
                    text = f"{name} gains {gain:.2f} points of accuracy by cleaning{where}, at least 3"
                    lines.append((text, gain >= 3.0))
    for name in ("FORUM", "MOML", "MoCo"):
        if name in found:
            value = float(np.mean([run.auc for run in found[name]]))
            lines.append((f"{name}'s weights separate clean from corrupted, AUC {value:.3f} >= 0.85", value >= 0.85))
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description="Multi-task data hyper-cleaning.")
    parser.add_argument("--data", type=Path, help="folder with the IDX files of MNIST and FashionMNIST")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--iterations", type=int, help="K; 1200 on files as in the thesis, 400 on digits")
    parser.add_argument("--quick", action="store_true", help="ten short iterations, and no acceptance")
    options = parser.parse_args()
    settings = QUICK if options.quick else DIGITS if options.data is None else Settings()
    if options.iterations is not None:
        settings = replace(settings, iterations=options.iterations)
    print(machine())
    found: dict[str, list[Outcome]] = {name: [] for name in options.methods}
    names: tuple[str, ...] = ()
    for seed in range(options.seeds):
        data = digits(seed) if options.data is None else mnist(options.data, seed)
        names = data.names
        for name in options.methods:
            outcome = RUNS[name](data, settings, seed)
            found[name].append(outcome)
            shown = f"accuracy {outcome.accuracy.mean():.2f}, AUC {outcome.auc:.3f}, {outcome.seconds:.1f} s"
            print(f"seed {seed}, {name}: {shown}", flush=True)
    table = table_of(found, names, options.data is not None)
    table.show()
    print(f"written: {table.save()}")
    if options.quick:
        print("acceptance: only after full runs.")
        return 0
    lines = acceptance(found)
    for text, passed in lines:
        print(f"{text}: {'yes' if passed else 'NO'}")
    return 0 if all(passed for _, passed in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
