// Outliers among a generation's values, see pyasmg/_outliers.py.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyasmg {

// w (N, m) row-major holds the centred values, 0 in rows that are not valid; weights (m,). A row whose weighted value
// lies above q_3 + far * (q_3 - q_1), the quartiles being those of the valid rows, moves along the line to the median
// row until it does not; then the columns are centred again. Writes that to `pulled` (N, m); or returns false, and
// writes nothing, where no row moves, where the limit is not above the median, or where fewer than `fewest` rows are
// valid. O(N m).
bool pull_in(std::size_t count, std::size_t n_objectives, const double* w, const std::uint8_t* valid,
             const double* weights, double far, std::size_t fewest, double* pulled);

}  // namespace pyasmg
