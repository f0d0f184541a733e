"""The evolution strategy of Salimans et al. (2017)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ._base import Baseline, FloatArray, values


class ES(Baseline):
    """OpenAI's evolution strategy: a fixed isotropic Gaussian, mirrored pairs, centred ranks, Adam.

    The mean moves along::

        g = 1/(N sigma) sum_i rank(f_i) z_i,     x_i = mean + sigma z_i     (Salimans et al. 2017, Algorithm 1)

    with ranks centred to [-1/2, 1/2] (section 2.1) and mirrored pairs ("antithetic sampling", section 2).

    Parameters
    ----------
    learning_rate : float
        Of Adam. 0.01 is the default of the authors' code, and what the thesis takes.
    momentum, second_moment, epsilon : float
        Of Adam, as in its paper and in the authors' code.

    Notes
    -----
    Source: T. Salimans, J. Ho, X. Chen, S. Sidor, I. Sutskever, Evolution Strategies as a Scalable Alternative to
    Reinforcement Learning, arXiv:1703.03864. Deviations: no weight decay (it pulls to the origin, which is the
    optimum of some test problems); `popsize` is made even. evosax has the same method in JAX, which the tests
    compare with; this one needs numpy only, so that a benchmark runs without compiling.

    O(N d) per generation.
    """

    def __init__(
        self,
        x0: npt.ArrayLike,
        sigma0: float,
        popsize: int | None = None,
        seed: int = 0,
        *,
        learning_rate: float = 0.01,
        momentum: float = 0.9,
        second_moment: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(x0, sigma0, popsize, seed)
        self.popsize += self.popsize % 2
        self.learning_rate = learning_rate
        self._decay = (momentum, second_moment, epsilon)
        self._first = np.zeros_like(self.mean)
        self._second = np.zeros_like(self.mean)
        self._t = 0

    def ask(self) -> FloatArray:
        half = self.rng.standard_normal((self.popsize // 2, self.mean.size))
        self._z = np.concatenate([half, -half])
        return self.mean + self.sigma0 * self._z

    def tell(self, X: FloatArray, f: npt.ArrayLike) -> None:
        gradient = centred_ranks(values(f, self.popsize)) @ self._z / (self.popsize * self.sigma0)
        momentum, second_moment, epsilon = self._decay
        self._t += 1
        self._first += (1 - momentum) * (gradient - self._first)
        self._second += (1 - second_moment) * (gradient**2 - self._second)
        first = self._first / (1 - momentum**self._t)
        second = self._second / (1 - second_moment**self._t)
        self.mean = self.mean - self.learning_rate * first / (np.sqrt(second) + epsilon)


def centred_ranks(f: FloatArray) -> FloatArray:
    """Return the ranks of ``f`` spread over [-1/2, 1/2]; equal values share their mean rank."""
    _, inverse, counts = np.unique(f, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    ranks: FloatArray = (first + (counts - 1) / 2)[inverse] / max(len(f) - 1, 1) - 0.5
    return ranks
