"""Multi-objective bilevel optimisation: learn hyper-parameters, sample weights or task weights while a model trains.

::

    problem = BilevelProblem(upper, lower)  # each a function (alpha, omega, batch)
    method = FORUM(problem, alpha, model, alpha_optimizer=..., omega_optimizer=..., lower_steps=5)
    for _ in range(1000):
        diagnostics = method.step(Batches(upper=validation_loader, lower=training_loader))

``step`` updates alpha and omega in place through these optimizers. :class:`BilevelMethod` is the base of the methods.
"""

from ._diagnostics import BilevelDiagnostics
from ._lower import LowerLevelDiverged
from ._method import BilevelMethod
from .constraints import Box, Constraint, Free, Simplex, Softmax
from .problem import Batches, BilevelProblem

__all__ = [
    "Batches",
    "BilevelDiagnostics",
    "BilevelMethod",
    "BilevelProblem",
    "Box",
    "Constraint",
    "Free",
    "LowerLevelDiverged",
    "Simplex",
    "Softmax",
]
