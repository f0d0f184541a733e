"""One generation: from objective values to the next search distribution."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _core
from ._device_distribution import DeviceDistribution
from ._distribution import FloatArray, SearchDistribution, Summary
from ._options import Options
from ._outliers import pull_in
from ._scaling import Scaling
from ._step_size import StepState
from .weighting import Generation, Weighting


class Values(NamedTuple):
    """Objective values of one generation, conditioned by the core (``csrc/objectives.hpp``)."""

    w: FloatArray  # (N, m) centred, standardised if wanted, divided by n_valid
    valid: npt.NDArray[np.uint8]  # (N,)
    n_valid: int
    offset: FloatArray  # (m,) what was subtracted
    scale: FloatArray  # (m,) population standard deviation
    median: FloatArray  # (m,)
    spread: FloatArray  # (m,) largest minus smallest


class Outcome(NamedTuple):
    """What a generation leaves behind besides the stepped distribution."""

    weights: FloatArray
    gram: FloatArray  # (m, m) of the standardised objectives if scaled, else of the raw ones
    scaling: Scaling
    step_state: StepState
    summary: Summary | None  # None: no step, because nothing varied


def take_step(
    search: SearchDistribution | DeviceDistribution,
    options: Options,
    weighting: Weighting,
    scaling: Scaling,
    step_state: StepState,
    previous: FloatArray,
    iteration: int,
    X: Any,
    samples: FloatArray,
    center: FloatArray | None,
    values: Values,
) -> Outcome:
    """Estimate, weigh, step. Raises before anything is changed, or does all of it."""
    w, valid, n_valid = values.w, values.valid, values.n_valid
    m = w.shape[1]
    columns, mean = w, values.offset
    if options.scale_objectives:
        ratio, scaling = scaling.follow(values.scale)
    else:
        ratio = np.ones(m)
    if options.automatic and iteration > 0:
        columns = w = pull_in(w, valid, previous * ratio)
    if center is not None:
        # Eqs. 4.12-4.13 subtract F(mean), A.152-A.153 the generation's mean: a column of ones turns one into the other
        # without a second pass over the sample.
        columns = np.ascontiguousarray(np.hstack((w, valid[:, None] / n_valid)))
        mean = samples[valid != 0].mean(axis=0)
    gram, norms = search.estimate(iteration, X, valid, columns)
    if center is not None:
        gram = np.ascontiguousarray(gram[:m, :m])
    if not options.scale_objectives and not np.isfinite(gram).all():
        raise ValueError(
            "`F` must be small enough to be squared with scale_objectives=False; "
            f"got a spread of {values.spread.max():g}. Divide it by its unit, or use scale_objectives=True."
        )

    scaled_gram, active = gram * (ratio[:, None] * ratio), ratio > 0.0
    weights = weighting(Generation(iteration, scaled_gram, mean, values.median, values.scale, active, previous))
    if weighting.momentum:
        gamma = options.gamma(iteration)
        weights = (1.0 - gamma) * previous + gamma * weights  # Eq. 4.17

    combined = weights * ratio
    sigma, mean_std_gradient = _core.aggregate(w, valid, n_valid, combined, norms, search.dimension)
    if not sigma > 0.0 or n_valid < 2:
        return Outcome(weights, gram, scaling, step_state, None)
    coefficients = combined / sigma
    if center is not None:
        shift = mean - center
        if options.scale_objectives:
            shift = np.divide(shift, values.scale, out=np.zeros(m), where=values.scale > 0.0)
        coefficients = np.append(coefficients, -(coefficients * shift).sum())
    steps = step_state.choose(options.step_size, options.std_step_size, n_valid, search.dimension)
    mean_std_gradient /= sigma
    # Within bounds the stds need no help: the sides say how wide they may be, and a mean that rests on a side is
    # pushed there by gradients that agree for ever.
    growth = step_state.growth if options.std_step_size is None and search.low is None else 0.0
    std_shift = steps.held_back * mean_std_gradient + growth / steps.std
    summary, path = search.step(coefficients, steps, std_shift, options.std_form == "inverse", step_state)
    if summary.finite:
        shrinkage = steps.std * (1.0 - steps.held_back) * mean_std_gradient - growth
        norms_of = summary.path_norm, summary.step_norm
        step_state = step_state.advance(path, *norms_of, shrinkage, n_valid, len(w) - n_valid, search.dimension)
    return Outcome(weights, gram, scaling, step_state, summary)
