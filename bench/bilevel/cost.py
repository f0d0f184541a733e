"""Time and memory of one upper iteration against T and against the size of the lower level (Fig. 3.1, Table 3.1).

    python -m bench.bilevel.cost [--steps 1 2 ... 128] [--layers 0 1 2 3] [--methods FORUM MOML MoCo] [--quick]

The problem of hyper-cleaning with the thesis's network (784-512-256, two heads, batches of 100, 5,000 weights per
domain) on random data. The first two panels vary T, the others the number of lower parameters p, by linear layers of
512 units in the shared part, at T = 64; where the first grows in T, ``--fixed`` sets another T. On CUDA where there is
a device, else on the CPU with one thread.

Memory is by how much the first iteration raises what PyTorch holds at most (``memory.py``). Time is the median of the
``--repeats`` iterations that follow, the methods taking turns (CPU time on the CPU). The exponents are slopes of
log(cost) over log(T), T >= 8, and over log(p); Table 3.1 says T for all times, T for the memory of MOML and MoCo and
none for FORUM's, and counts p(n + p) for a product with the Hessian, which costs O(p) by automatic differentiation.
Acceptance: FORUM's peak at the largest T at most 1.05 times that at T = 1, MOML's in proportion to T (exponent from
0.8 on, T >= 8), FORUM's time below both at every T >= 8 and every size.
"""

# ruff: noqa: E402  (threads are set before numpy is imported)

from __future__ import annotations

from bench.common import Table, machine, one_thread, save_figure

one_thread()

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.bilevel.cleaning_data import SIZES, Cleaning
from bench.bilevel.cleaning_problem import HyperCleaning, Network, Samples
from bench.bilevel.memory import peak_bytes
from pyasmg.mtl import bilevel

STEPS = (1, 2, 4, 8, 16, 32, 64, 128)
LAYERS = (0, 1, 2, 3)
METHODS = ("FORUM", "MOML", "MoCo")
#: Exponents of T and p that Table 3.1 gives: time over T, memory over T, time over p, memory over p.
TABLE = {"FORUM": (1, 0, 1, 1), "MOML": (1, 1, 2, 1), "MoCo": (1, 1, 2, 1)}
LIMIT = 1.05
LINEAR = 0.8


def random_data(n_domains: int, d: int, seed: int, device: torch.device) -> Cleaning:
    """Return random inputs and labels of the sizes of the thesis."""
    generator = torch.Generator().manual_seed(seed)
    parts = ("train", "validation")
    inputs = {part: torch.randn(n_domains, SIZES[part], d, generator=generator).to(device) for part in parts}
    labels = {part: torch.randint(10, (n_domains, SIZES[part]), generator=generator).to(device) for part in parts}
    clean = torch.ones(labels["train"].shape, dtype=torch.bool)
    return Cleaning(inputs, labels, clean, ("first", "second")[:n_domains])


class OnDevice:
    """Batches of indices on a device."""

    def __init__(self, samples: Samples, device: torch.device) -> None:
        self.samples, self.device = samples, device

    def __iter__(self) -> Any:
        return (batch.to(self.device) for batch in self.samples)


def make(name: str, data: Cleaning, widths: Sequence[int], lower_steps: int, batch: int, device: torch.device) -> Any:
    """Return a function that takes one iteration, and the number of lower parameters."""
    torch.manual_seed(0)
    network = Network(widths, data.n_domains).to(device)
    alpha = torch.zeros(data.n_domains, data.n_train, device=device)
    options: dict[str, Any] = {}
    if name == "FORUM":
        options["omega_optimizer"] = torch.optim.SGD(network.parameters(), lr=0.01)
    method = bilevel.METHODS[name](
        HyperCleaning(data, network),
        alpha,
        network,
        alpha_optimizer=torch.optim.SGD([alpha], lr=1.0),
        lower_steps=lower_steps,
        lower_learning_rate=0.01,
        **options,
    )
    samples = [Samples(data.labels[part].shape[1], data.n_domains, batch, 0) for part in ("validation", "train")]
    batches = bilevel.Batches(*(OnDevice(sample, device) for sample in samples))
    return lambda: method.step(batches), sum(parameter.numel() for parameter in network.parameters())


def measure(
    names: Sequence[str],
    data: Cleaning,
    widths: Sequence[int],
    lower_steps: int,
    batch: int,
    repeats: int,
    device: torch.device,
) -> tuple[dict[str, tuple[float, float]], int]:
    """Return seconds and bytes of an iteration of each method, and the number of lower parameters."""
    made = {name: make(name, data, widths, lower_steps, batch, device) for name in names}
    peaks = {}
    for name, (step, _) in made.items():
        peaks[name] = peak_bytes(step, device)  # of the first iteration, which allocates what is kept, too
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats):
        for name, (step, _) in made.items():
            gc.collect()
            times[name].append(seconds_of(step, device))
    p = next(iter(made.values()))[1]
    return {name: (float(np.median(times[name])), float(peaks[name])) for name in names}, p


def seconds_of(step: Any, device: torch.device) -> float:
    """Return the time of a call: CPU time, or wall time with CUDA."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        begin = time.perf_counter()
        step()
        torch.cuda.synchronize(device)
        return time.perf_counter() - begin
    begin = time.process_time()
    step()
    return time.process_time() - begin


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the exponent of a power law fitted to two sequences."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0]) if len(x) > 1 else float("nan")


Found = dict[str, dict[int, tuple[float, float]]]


def exponents_of(over_steps: Found, over_size: Found) -> Table:
    """Return the fitted exponents beside those of Table 3.1."""
    columns = ["method", "time, T", "Table 3.1", "memory, T", "Table 3.1 ", "time, p", " Table 3.1", "memory, p", "3.1"]
    table = Table("bilevel_cost_exponents", columns, title="Fitted exponents (T >= 8), and those of Table 3.1")
    for name in over_steps:
        cells: list[Any] = []
        for found, which in ((over_steps, 0), (over_steps, 1), (over_size, 0), (over_size, 1)):
            kept = {x: costs for x, costs in found[name].items() if found is over_size or x >= 8}
            exponent = slope(list(kept), [costs[which] for costs in kept.values()])
            cells += [exponent, TABLE[name][len(cells) // 2]]
        table.add(name, *cells)
    return table


def acceptance(over_steps: Found, over_size: Found) -> list[tuple[str, bool]]:
    """Return what was to be shown, and whether it was."""
    own, lines = over_steps["FORUM"], []
    ratio = own[max(own)][1] / own[min(own)][1]
    text = f"FORUM's peak memory at T = {max(own)} is {ratio:.4f} times that at T = {min(own)}, at most {LIMIT}"
    lines.append((text, ratio <= LIMIT))
    if "MOML" in over_steps:
        kept = {steps: costs[1] for steps, costs in over_steps["MOML"].items() if steps >= 8}
        exponent = slope(list(kept), list(kept.values()))
        lines.append((f"MOML's memory grows linearly: exponent {exponent:.2f}", exponent >= LINEAR))
    for other in over_steps:
        if other == "FORUM":
            continue
        factors = [over_steps[other][steps][0] / own[steps][0] for steps in own if steps >= 8]
        factors += [costs[0] / over_size["FORUM"][p][0] for p, costs in over_size[other].items()]
        span = f"{min(factors):.2f} to {max(factors):.2f} times"
        text = f"FORUM is faster than {other} at every T >= 8 and every size, {span}"
        lines.append((text, min(factors) > 1.0))
    return lines


def figure(over_steps: Found, over_size: Found, fixed: int) -> Path:
    """Draw the four panels of Fig. 3.1."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 4, figsize=(16, 3.6))
    panels = ((over_steps, 0), (over_size, 0), (over_steps, 1), (over_size, 1))
    for axis, (found, which), letter in zip(axes, panels, "abcd", strict=True):
        for name, costs in found.items():
            unit = 1.0 if which == 0 else 2.0**-20
            axis.plot(list(costs), [cost[which] * unit for cost in costs.values()], "o-", ms=4, label=name)
        axis.set(xscale="log", yscale="log", ylabel=("seconds per iteration", "peak memory (MiB)")[which])
        axis.set(xlabel="lower steps T" if found is over_steps else "lower parameters p")
        axis.set(title=f"({letter})" + ("" if found is over_steps else f" T = {fixed}"))
    axes[0].legend()
    fig.tight_layout()
    return save_figure(fig, "bilevel_cost")


def main() -> int:
    parser = argparse.ArgumentParser(description="Time and memory of bilevel methods.")
    parser.add_argument("--steps", type=int, nargs="+", default=list(STEPS))
    parser.add_argument("--layers", type=int, nargs="+", default=list(LAYERS), help="how many are added, a run each")
    parser.add_argument("--fixed", type=int, default=64, help="T where the size varies")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--quick", action="store_true", help="a small network, and no acceptance")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    ends, added = ((20, 16, 8), 16) if options.quick else ((784, 512, 256), 512)
    data = random_data(2, ends[0], 0, device)
    print(machine(), f"on {torch.cuda.get_device_name(device)}" if device.type == "cuda" else "")
    table = Table("bilevel_cost", ["method", "T", "p", "seconds", "peak MiB"], title=f"One upper iteration ({device})")
    over_steps: Found = {name: {} for name in options.methods}
    over_size: Found = {name: {} for name in options.methods}
    for layers, lower_steps, found in [
        *((0, steps, over_steps) for steps in options.steps),
        *((layers, options.fixed, over_size) for layers in options.layers),
    ]:
        widths = [ends[0], *[added] * (1 + layers), ends[-1]]
        costs, p = measure(options.methods, data, widths, lower_steps, options.batch, options.repeats, device)
        for name, (seconds, peak) in costs.items():
            table.add(name, lower_steps, p, seconds, peak * 2.0**-20)
            found[name][lower_steps if found is over_steps else p] = (seconds, peak)
        print(f"T = {lower_steps}, p = {p}: " + ", ".join(f"{n} {c[0]:.3g} s" for n, c in costs.items()), flush=True)
    table.show()
    exponents = exponents_of(over_steps, over_size)
    exponents.show()
    written = [table.save(), exponents.save(), figure(over_steps, over_size, options.fixed)]
    print(f"written: {', '.join(map(str, written))}")
    if options.quick or "FORUM" not in options.methods:
        print("acceptance: only after full runs with FORUM.")
        return 0
    lines = acceptance(over_steps, over_size)
    for text, passed in lines:
        print(f"{text}: {'yes' if passed else 'NO'}")
    return 0 if all(passed for _, passed in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
