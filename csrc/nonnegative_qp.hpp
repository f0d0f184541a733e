// min over y >= 0 of y'Cy / 2 + q'y: projections onto what is dual to a set of gradients.
#pragma once

#include <cstddef>

namespace pyasmg {

// `matrix` is C, row-major m x m, symmetric and positive semi-definite up to rounding, with a diagonal of ones; of any
// rank. Writes y with y_i = 0 or (C y + q)_i = 0, and C y + q >= 0, all of them to a few roundings of the terms.
// Returns false where the value has no bound; with `bounded` it is known to have one, and what denies it is rounding of
// C.
//
// A primal active-set method (Lawson and Hanson, 1974, ch. 23). An index whose vector depends on those of the face
// enters along the null vector, in exchange for another one. No face is visited twice, so that rounding cannot make it
// cycle. O(m^3) per step, mostly about as many steps as there are positive entries.
bool nonnegative_qp(std::size_t m, const double* matrix, const double* linear, bool bounded, double* y);

// Solves `count` bounded programs with one matrix; `linears` and `y` are row-major (count, m).
//
// Block principal pivoting (Portugal, Judice and Vicente, 1994): every index that violates its condition changes sides,
// which takes about five rounds. What it leaves open, and what it cannot prove because of a nearly singular face, is
// left to the active-set method.
void bounded_qps(std::size_t m, std::size_t count, const double* matrix, const double* linears, double* y);

// UPGrad (Quinton and Rey, 2024): what the gradients are multiplied by in the mean of their projections onto the dual
// cone, from a Gram matrix with finite entries; 1 / m for a zero gradient. `weights` has m entries. m programs.
void upgrad_weights(std::size_t m, const double* gram, double* weights);

}  // namespace pyasmg
