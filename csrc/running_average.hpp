// The running average of a gradient.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace pyasmg {

// Where an average goes: by `rate` of its way to the gradient times `factor`, or to one of `length` in its direction. A
// zero gradient has no length but 0.
struct Goal {
    double rate;
    double factor;
    std::optional<double> length;
};

template <class T>
struct Part {
    const T* x;
    std::size_t n;
};

// Moves y, of as many numbers as all parts of the gradient together, and returns the norm of the gradient; from the
// nearer end, as the other would lose digits. The product with a factor other than 1 is taken in double: a factor may
// leave the range of T where the product does not. Where the gradient is not finite, or its multiple is longer than
// the largest number of T, y stays where it is and infinity comes back. Two passes over the gradient, one over y, O(n)
// time and no extra memory. No part may overlap y.
template <class T>
double running_average(const std::vector<Part<T>>& gradient, const Goal& goal, T* y);

}  // namespace pyasmg
