"""TorchJD's and LibMTL's versions of the methods, for ``bench.mtl.cost``: whatever is installed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any

import torch

Step = Callable[[Any], None]


def torchjd_steps(m: int) -> dict[str, Step]:
    """Return a step per method of ours that TorchJD has too, by our name."""
    if importlib.util.find_spec("torchjd") is None:
        print("TorchJD skipped: not installed.")
        return {}
    from torchjd import aggregation, autojac, scalarization

    def gradient(aggregator: aggregation.Aggregator) -> Step:
        def step(problem: Any) -> None:
            autojac.mtl_backward(
                problem.losses, features=problem.features, tasks_params=problem.own, shared_params=problem.shared
            )
            autojac.jac_to_grad(problem.shared, aggregator)

        return step

    def loss(scalarizer: scalarization.Scalarizer) -> Step:
        return lambda problem: scalarizer(torch.stack(problem.losses)).backward()

    candidates: dict[str, Callable[[], Step]] = {
        "EW": lambda: loss(scalarization.Mean()),
        "RLW": lambda: loss(scalarization.Random()),
        "UW": lambda: loss(scalarization.UW(m)),
        "IMTLL": lambda: loss(scalarization.IMTLL(m)),
        "FAMO": lambda: loss(scalarization.FAMO(m)),
        "MGDA": lambda: gradient(aggregation.MGDA()),
        "FairGrad": lambda: gradient(aggregation.FairGrad(alpha=2.0)),
        "AlignedMTL": lambda: gradient(aggregation.AlignedMTL()),
        "CAGrad": lambda: gradient(aggregation.CAGrad(c=0.4)),
        "IMTLG": lambda: gradient(aggregation.IMTLG()),
        "PCGrad": lambda: gradient(aggregation.PCGrad()),
        "GradVac": lambda: gradient(aggregation.GradVac()),
        "GradDrop": lambda: gradient(aggregation.GradDrop()),
        "UPGrad": lambda: gradient(aggregation.UPGrad()),
        "NashMTL": lambda: gradient(aggregation.NashMTL(n_tasks=m)),
    }
    found = {}
    for name, make in candidates.items():
        try:
            found[name] = make()
        except ImportError as error:
            print(f"TorchJD {name} skipped: {error}")
    return found


def libmtl_steps(m: int) -> dict[str, Step]:
    """Return a step per method of ours that LibMTL has too, by our name; without its trainer."""
    if "LibMTL" not in sys.modules:  # its __init__ needs torchvision, for data sets that play no part here
        spec = importlib.util.find_spec("LibMTL")
        if spec is None or spec.submodule_search_locations is None:
            print("LibMTL skipped: not installed.")
            return {}
        package = types.ModuleType("LibMTL")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["LibMTL"] = package
    weighting = importlib.import_module("LibMTL.weighting")

    def make(name: str, **options: Any) -> Step:
        rule = getattr(weighting, name)()
        rule.task_num, rule.device, rule.rep_grad = m, torch.device("cpu"), False
        rule.init_param()

        def step(problem: Any) -> None:
            def zero_grad() -> None:
                for parameter in problem.shared:
                    parameter.grad.zero_()

            rule.get_share_params = lambda: iter(problem.shared)
            rule.zero_grad_share_params = zero_grad
            rule.backward(torch.stack(problem.losses), **options)

        return step

    return {
        "EW": make("EW"),
        "RLW": make("RLW", dist="Normal"),
        "UW": make("UW"),
        "MGDA": make("MGDA", mgda_gn="none"),
        "PCGrad": make("PCGrad"),
        "CAGrad": make("CAGrad", calpha=0.4, rescale=1),
        "GradVac": make("GradVac", beta=0.5),
    }
