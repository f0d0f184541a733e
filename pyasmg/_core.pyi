"""The compiled core, as ``csrc/bindings.cpp`` defines it; ``tests/test_stubs.py`` compares the two."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_T = TypeVar("_T", np.float32, np.float64)
_Float64Array = npt.NDArray[np.float64]
_UInt8Array = npt.NDArray[np.uint8]

_device: Any  # csrc/cuda/bindings.hpp

def sample_population(
    mean: npt.NDArray[_T],
    std: npt.NDArray[_T],
    low: npt.NDArray[_T] | None,
    high: npt.NDArray[_T] | None,
    seed: int,
    generation: int,
    mirrored: bool,
    first: int,
    out: npt.NDArray[_T],
    n_threads: int,
) -> None: ...
def sample_normals(seed: int, generation: int, first: int, out: npt.NDArray[_T], n_threads: int) -> None: ...
def estimate(
    mean: npt.NDArray[_T],
    std: npt.NDArray[_T],
    low: npt.NDArray[_T] | None,
    high: npt.NDArray[_T] | None,
    seed: int,
    generation: int,
    mirrored: bool,
    x: npt.NDArray[_T] | None,
    valid: _UInt8Array,
    w: _Float64Array,
    mean_gradient: npt.NDArray[_T],
    std_gradient: npt.NDArray[_T],
    n_threads: int,
) -> tuple[_Float64Array, _Float64Array]: ...
def row_products(x: npt.NDArray[_T], in_double: bool) -> _Float64Array: ...
def running_average(
    x: npt.NDArray[_T], rate: float, factor: float, length: float | None, y: npt.NDArray[_T]
) -> float: ...
def combine_rows(
    x: npt.NDArray[_T], weights: _Float64Array, factor: float, outs: Sequence[npt.NDArray[_T]]
) -> None: ...
def sign_dropout(
    x: npt.NDArray[_T], leak: _Float64Array | None, generator: Sequence[int], outs: Sequence[npt.NDArray[_T]]
) -> list[int]: ...
def update_distribution(
    mean: npt.NDArray[_T],
    std: npt.NDArray[_T],
    low: npt.NDArray[_T] | None,
    high: npt.NDArray[_T] | None,
    mean_gradient: npt.NDArray[_T],
    std_gradient: npt.NDArray[_T],
    coefficients: _Float64Array,
    mean_step: float,
    std_step: float,
    std_shift: float,
    inverse: bool,
    path: _Float64Array | None,
    new_path: _Float64Array | None,
    path_stride: int,
    path_rate: float,
    n_threads: int,
) -> tuple[float, float, bool, bool, float, float]: ...
def condition_objectives(
    values: _Float64Array, center: _Float64Array | None, standardise: bool
) -> tuple[_Float64Array, _UInt8Array, int, _Float64Array, _Float64Array, _Float64Array, _Float64Array]: ...
def pull_in(
    w: _Float64Array, valid: _UInt8Array, weights: _Float64Array, far: float, fewest: int
) -> _Float64Array | None: ...
def follow_scales(
    scale: _Float64Array, log_scale: _Float64Array, count: _Float64Array
) -> tuple[_Float64Array, _Float64Array, _Float64Array]: ...
def aggregate(
    w: _Float64Array,
    valid: _UInt8Array,
    n_valid: int,
    weights: _Float64Array,
    row_sums: _Float64Array,
    dimension: int,
) -> tuple[float, float]: ...
def unit_gram(gram: _Float64Array) -> tuple[_Float64Array, _Float64Array]: ...
def simplex_qp(gram: _Float64Array) -> tuple[_Float64Array, float]: ...
def adam_step(
    vector: _Float64Array,
    gradient: _Float64Array,
    first: _Float64Array,
    second: _Float64Array,
    learning_rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    correction1: float,
    correction2: float,
) -> None: ...
def softmax(values: _Float64Array) -> _Float64Array: ...
def softmax_slopes(shares: _Float64Array, gradient: _Float64Array) -> _Float64Array: ...
def gap_slopes(
    losses: _Float64Array,
    shares: _Float64Array,
    gain: _Float64Array,
    weighted: bool,
    upper: float,
    lower: float,
    smoothing: float,
) -> tuple[_Float64Array, _Float64Array]: ...
def group_means(values: _Float64Array, n_groups: int) -> _Float64Array: ...
def distinct(kind: type, first: object, others: object) -> bool: ...
def distinct_leaves(kind: type, first: object, others: object) -> bool: ...

class Tensors:
    def __init__(self, kind: type, parameter: type, empty_like: Callable[..., Any]) -> None: ...
    def scalars(self, list: object, n: int) -> _Float64Array | None: ...
    def fill_row(self, matrix: object, row: int, found: object, count: int) -> bool: ...
    def starts(self, list: object, gradient: float) -> list[Any] | None: ...
    def passes(
        self,
        run: Callable[..., Any],
        starts: list[Any],
        targets: tuple[Any, ...],
        heads: tuple[tuple[Any, ...], ...],
        matrix: object,
        goals: Sequence[tuple[float, float, float | None]] | None,
        keep_last: bool,
        otherwise: Callable[..., Any],
    ) -> tuple[list[Any], list[Any]]: ...
    def fits(self, matrix: object, n_rows: int, targets: object) -> bool: ...
    def gram(self, matrix: object, exact_work: int) -> _Float64Array | None: ...
    def place(self, parameters: object, gradients: object) -> list[int]: ...
    def copies(self, lists: object, factors: _Float64Array | None) -> tuple[list[Any], list[int]]: ...
    def combine(self, matrix: object, weights: _Float64Array, targets: object) -> list[Any] | None: ...
    def sign_dropout(
        self, matrix: object, leak: _Float64Array | None, generator: Sequence[int], targets: object
    ) -> tuple[list[Any], list[int]] | None: ...
    def running_average(
        self, matrix: object, row: int, found: object, count: int, goal: tuple[float, float, float | None]
    ) -> float | None: ...

def fair_weights(gram: _Float64Array, alpha: float, preference: _Float64Array) -> tuple[_Float64Array, int]: ...
def nonnegative_qp(matrix: _Float64Array, linear: _Float64Array, bounded: bool) -> tuple[_Float64Array, bool]: ...
def bounded_qps(matrix: _Float64Array, linears: _Float64Array) -> _Float64Array: ...
def conflict_averse_guess(
    cosines: _Float64Array,
    inner: _Float64Array,
    shares: _Float64Array,
    radius: float,
    inside: _UInt8Array,
    held: bool,
) -> tuple[_Float64Array, bool]: ...
def remove_conflicts(gram: _Float64Array, order: npt.NDArray[np.int64], factor: float) -> _Float64Array: ...
def vaccinate(
    gram: _Float64Array,
    order: npt.NDArray[np.int64],
    factor: float,
    rate: float,
    always: bool,
    largest_target: float,
    usual: _Float64Array,
) -> tuple[_Float64Array, _Float64Array]: ...
def upgrad_weights(gram: _Float64Array) -> _Float64Array: ...
def impartial_weights(gram: _Float64Array) -> _Float64Array: ...
def aligned_weights(gram: _Float64Array, scale: str, wanted: _Float64Array) -> _Float64Array: ...
def gradnorm_slopes(
    gram: _Float64Array, alpha: float, weights: _Float64Array, losses: _Float64Array, initial: _Float64Array
) -> _Float64Array: ...
def moved_weights(gram: _Float64Array, weights: _Float64Array, rate: float, rho: float) -> _Float64Array: ...
def simplex_projection(point: _Float64Array) -> _Float64Array: ...
def conflict_averse_weights(gram: _Float64Array, c: float) -> _Float64Array | None: ...
def philox4x32(counter: Sequence[int], key: Sequence[int]) -> list[int]: ...
def log(value: float) -> float: ...
def exp(value: float) -> float: ...
def simd_levels() -> list[str]: ...
def simd_level() -> str: ...
def set_simd_level(name: str) -> None: ...
