"""The automatic step sizes.

For N valid samples in d dimensions, with b = min(1.2, 0.12 N / sqrt(d)):

    std step   b,          of which the mean over the coordinates is followed at a share s only:
                           log std_k -= b (h_k - (1 - s) hbar),    h = sum_i c_i H_i,    hbar = (1 / d) sum_k h_k
    mean step  max(0.7 b g, L exp(-v)),    1 <= g, and 0.7 b g <= 1.5

Why N / sqrt(d). While the cloud is wide (sqrt(d) std above the distance to the optimum) the standardised values are
mostly |z|^2, and hbar is about sqrt(1 / (2 d)): log std falls by b / sqrt(2 d) a generation whatever the objective,
while the mean wanders by b / sqrt(N) stds a generation. The wander that accumulates while the stds fall by a factor
e is therefore of variance b sqrt(2 d) / N std^2; keeping it constant gives b proportional to N / sqrt(d), and a
number of *evaluations* that does not depend on N. Beyond b = 1.2 the steps are no longer small changes.

Why a share s. Coordinates whose gradient is still hidden in the noise are pushed up relative to the visible ones, so
that they do not collapse before their turn comes; with s = 1 from the start the search freezes in local optima of
multimodal objectives. s is 0.4 while the stds are of the order of ``sigma0``, the scale that the user gave to the
global structure, and rises to 1 as their geometric mean falls from e^-2 to e^-5 of it (of its largest, if it grew).

Why a gain g. Where the cloud is narrow the objectives are nearly linear across it, and the mean can take far larger
steps. g follows a path, as the cumulative step-size adaptation of CMA-ES does for sigma: q is the running mean (rate
0.05) of the mean's natural gradients p, and r = |q|^2 over its expectation for uncorrelated p. Successive gradients
that agree (r > 1) raise g, ones that cancel lower it: log g += 0.05 clip(log r, -1, 1). The path runs over at most
16,384 evenly spaced coordinates: enough for r, and no memory of the order of d.

Why a lift. g takes dozens of generations to grow, which a search of a few dozen generations does not have: with 12
candidates in 102 dimensions the mean began with 0.1 stds a generation where CMA-ES makes 1. So the mean begins with
large steps, L = min(1, 7 b), and goes on with them as long as its path does not speak against them: v, the mistrust,
starts at 0, and v -= 0.05 clip(log r - 0.2, -1, 1) within [0, log 10]. Steps that are too large make successive
gradients cancel, and mere noise uses the lift up within some 230 generations. Three times the share of failed
candidates comes on top: where some points cannot be evaluated, a mean that wanders ends among them (12 of 100 searches
beside such a region, none with this). Without v and with N = 10, problem 4.21 takes three times the evaluations and
4.23 ends in a local optimum.

Why the stds grow. The std gradients cannot tell that the cloud is far too narrow: where the objectives are linear
across it, they are noise. With g at its limit the mean then crept along by 1.5 stds a generation, with sigma0 = 0.002
as well as in the valley of Rosenbrock's function, where the stds have collapsed on the way in. What the path says
beyond e times uncorrelated gradients, which g cannot follow any more, goes to the stds of the next step:
log std_k += 0.05 clip(log r - 1, 0, 1) for all k. Without the threshold, or four times as fast, the stds overshoot.
Growing starts the scale anew: the share s goes by the largest geometric mean so far. Not within bounds, whose sides say
how wide the stds may be, and where a mean that rests on a side is pushed there by gradients that agree for ever.

The constants were chosen on problems 4.21-4.23 with d = 10 and 100 and N = 10, 50 and 100, on the digits problem, and
for the growth on COCO's ``bbob-largescale`` with d = 20, for the lift there (d = 20, 40) and on MO-Gymnasium's
half-cheetah.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from . import _core

_RATE = 0.05
_MEAN_SHARE, _LARGEST_MEAN_STEP = 0.7, 1.5
_LARGEST_PATH = 16_384
_LARGEST_LIFT, _LARGEST_LIFTED_STEP, _DRIFT, _FAILED = 10.0, 1.0, 0.2, 3.0


class Steps(NamedTuple):
    """The steps of one generation."""

    mean: float  # beta of Eq. A.152
    std: float  # beta of Eq. A.153
    held_back: float  # share of the mean std gradient that is not followed


class StepState(NamedTuple):
    """What the automatic rule remembers; never changed in place."""

    path: npt.NDArray[np.float64]  # q on every stride-th coordinate
    stride: int
    energy: float  # expectation of |q|^2 for uncorrelated gradients
    log_gain: float  # log g
    shrinkage: float  # -log of the geometric mean of the stds over its largest so far
    growth: float = 0.0  # what the next step adds to every log std
    mistrust: float = 0.0  # v

    @classmethod
    def start(cls, dimension: int) -> StepState:
        """Nothing is known yet."""
        stride = -(-dimension // _LARGEST_PATH)
        return cls(np.zeros(-(-dimension // stride)), stride, 0.0, 0.0, 0.0)

    def numbers(self) -> list[float]:
        """Return what a saved state keeps besides the path, in the order in which the fields stand."""
        return list(self[2:])

    @property
    def rate(self) -> float:
        """Rate of the running mean."""
        return _RATE

    def choose(self, mean_step: float | None, std_step: float | None, n_valid: int, dimension: int) -> Steps:
        """Return the user's steps, and the automatic rule where one is None."""
        b = _base(n_valid, dimension)
        if mean_step is None:
            lifted = min(_LARGEST_LIFTED_STEP, _LARGEST_LIFT * _MEAN_SHARE * b) * _core.exp(-self.mistrust)
            mean_step = max(_MEAN_SHARE * b * _core.exp(self.log_gain), lifted)
        if std_step is not None:
            return Steps(mean_step, std_step, 0.0)
        share = 0.4 + 0.6 * min(max((self.shrinkage - 2.0) / 3.0, 0.0), 1.0)
        return Steps(mean_step, b, 1.0 - share)

    def advance(
        self,
        path: npt.NDArray[np.float64],
        path_norm: float,
        step_norm: float,
        shrinkage: float,
        n_valid: int,
        n_failed: int,
        dimension: int,
    ) -> StepState:
        """Return the state after a step, whose norms are given, that lowered the mean log std by ``shrinkage``."""
        energy = (1.0 - _RATE) ** 2 * self.energy + _RATE**2 * step_norm
        log_gain, growth, mistrust = self.log_gain, 0.0, self.mistrust
        if path_norm > 1e-300 and energy > 1e-300:
            most = max(_core.log(_LARGEST_MEAN_STEP / (_MEAN_SHARE * _base(n_valid, dimension))), 0.0)
            agreement = _core.log(path_norm) - _core.log(energy)  # log r
            log_gain = min(max(log_gain + _RATE * min(max(agreement, -1.0), 1.0), 0.0), most)
            if log_gain >= most:
                growth = _RATE * min(max(agreement - 1.0, 0.0), 1.0)
            mistrust -= _RATE * min(max(agreement - _DRIFT, -1.0), 1.0)
            mistrust += _FAILED * n_failed / (n_valid + n_failed)
            mistrust = min(max(mistrust, 0.0), math.log(_LARGEST_LIFT))
        shrinkage = max(self.shrinkage + shrinkage, 0.0)
        return StepState(path, self.stride, energy, log_gain, shrinkage, growth, mistrust)


def _base(n_valid: int, dimension: int) -> float:
    return min(1.2, 0.12 * n_valid / math.sqrt(dimension))
