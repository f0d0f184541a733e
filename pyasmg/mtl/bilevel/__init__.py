"""Multi-objective bilevel optimisation: learn hyper-parameters, sample weights or task weights while a model trains.

::

    problem = BilevelProblem(upper, lower)  # each a function (alpha, omega, batch)
    method = FORUM(problem, alpha, model, alpha_optimizer=..., omega_optimizer=..., lower_steps=5)
    batches = Batches(upper=validation_loader, lower=training_loader)
    for _ in range(1000):
        diagnostics = method.step(batches)

``step`` updates alpha and omega in place through these optimizers. :class:`BilevelMethod` is the base of the methods.
"""

from ._diagnostics import BilevelDiagnostics
from ._lower import DivergenceError
from ._method import BilevelMethod
from .bome import BOME
from .bvfim import BVFIM
from .constraints import Box, Constraint, Free, Simplex, Softmax
from .forum import FORUM
from .moco import MoCo
from .moml import MOML
from .problem import Batches, BilevelProblem
from .single_level import SingleLevel
from .task_weights import TaskLoaders, TaskWeights

#: The methods by name.
METHODS: dict[str, type[BilevelMethod]] = {
    method.__name__: method for method in (BOME, BVFIM, FORUM, MOML, MoCo, SingleLevel)
}

__all__ = [
    "BOME",
    "BVFIM",
    "FORUM",
    "METHODS",
    "MOML",
    "Batches",
    "BilevelDiagnostics",
    "BilevelMethod",
    "BilevelProblem",
    "Box",
    "Constraint",
    "DivergenceError",
    "Free",
    "MoCo",
    "Simplex",
    "SingleLevel",
    "Softmax",
    "TaskLoaders",
    "TaskWeights",
]
