#include "row_products.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "portable.hpp"
#include "simd.hpp"

namespace pyasmg {
namespace {

constexpr std::size_t kBlock = 1024;  // columns, a multiple of every vector length: a tile's rows fit into 32 KiB

// One vector of a level with kBytes of registers; A is what is summed in.
template <class A, std::size_t kBytes>
struct Vector {
    static constexpr std::size_t kLanes = kBytes / sizeof(A);
    typedef A type __attribute__((vector_size(kBytes)));

    template <class T>
    static PYASMG_HD void load(const T* from, type& to) {
        typedef T raw __attribute__((vector_size(kLanes * sizeof(T))));
        raw value;
        std::memcpy(&value, from, sizeof value);
        to = __builtin_convertvector(value, type);
    }

    // The sum of the lanes, by halves.
    static PYASMG_HD double sum(const type& lanes) {
        typename Vector<A, kBytes / 2>::type first, second;
        std::memcpy(&first, &lanes, sizeof first);
        std::memcpy(&second, reinterpret_cast<const char*>(&lanes) + sizeof first, sizeof second);
        first += second;
        return Vector<A, kBytes / 2>::sum(first);
    }
};

template <class A>
struct Vector<A, sizeof(A)> {
    typedef A type;

    static PYASMG_HD double sum(A lane) { return static_cast<double>(lane); }
};

// Products of kRows rows with kColumns others over n columns, n a multiple of the vector length. kAhead asks for the
// next block of the rows meanwhile: each row is another page, where hardware prefetching starts anew.
template <class T, class V, std::size_t kRows, std::size_t kColumns, bool kAhead>
PYASMG_HD void tile(const T* const* rows, const T* const* columns, std::size_t n, double (&out)[kRows][kColumns]) {
    typename V::type sums[kRows][kColumns] = {};
    for (std::size_t k = 0; k < n; k += V::kLanes) {
        typename V::type right[kColumns];
        for (std::size_t j = 0; j < kColumns; ++j) V::load(columns[j] + k, right[j]);
        for (std::size_t i = 0; i < kRows; ++i) {
            typename V::type left;
            V::load(rows[i] + k, left);
            if (kAhead) __builtin_prefetch(rows[i] + k + kBlock, 0, 2);
            for (std::size_t j = 0; j < kColumns; ++j) sums[i][j] += left * right[j];
        }
    }
    for (std::size_t i = 0; i < kRows; ++i) {
        for (std::size_t j = 0; j < kColumns; ++j) out[i][j] = V::sum(sums[i][j]);
    }
}

// The tiles of kRows rows from `i` on with all rows up to themselves.
template <class T, class V, std::size_t kRows, std::size_t kColumns>
PYASMG_HD void tiles(std::size_t m, std::size_t d, const T* x, std::size_t i, std::size_t begin, std::size_t n,
                     double* gram) {
    const T* rows[kRows];
    const T* columns[kColumns];
    double part[kRows][kColumns];
    for (std::size_t r = 0; r < kRows; ++r) rows[r] = x + (i + r) * d + begin;
    for (std::size_t j = 0; j < i + kRows; j += kColumns) {
        for (std::size_t c = 0; c < kColumns; ++c) columns[c] = x + std::min(j + c, m - 1) * d + begin;
        if (j == 0) {
            tile<T, V, kRows, kColumns, true>(rows, columns, n, part);
        } else {
            tile<T, V, kRows, kColumns, false>(rows, columns, n, part);
        }
        for (std::size_t r = 0; r < kRows; ++r) {
            for (std::size_t c = 0; c < kColumns && j + c < m; ++c) gram[(i + r) * m + j + c] += part[r][c];
        }
    }
}

template <class T, class V, std::size_t kColumns>
PYASMG_HD void products_loop(std::size_t m, std::size_t d, const T* x, double* gram) {
    std::fill_n(gram, m * m, 0.0);
    const std::size_t whole = d - d % V::kLanes;
    for (std::size_t begin = 0; begin < whole; begin += kBlock) {
        const std::size_t n = std::min(kBlock, whole - begin);
        std::size_t i = 0;
        for (; i + 4 <= m; i += 4) tiles<T, V, 4, kColumns>(m, d, x, i, begin, n, gram);
        switch (m - i) {
            case 3:
                tiles<T, V, 3, kColumns>(m, d, x, i, begin, n, gram);
                break;
            case 2:
                tiles<T, V, 2, kColumns>(m, d, x, i, begin, n, gram);
                break;
            case 1:
                tiles<T, V, 1, kColumns>(m, d, x, i, begin, n, gram);
                break;
            default:
                break;
        }
    }
    for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j <= i; ++j) {
            for (std::size_t k = whole; k < d; ++k) {
                gram[i * m + j] += static_cast<double>(x[i * d + k]) * static_cast<double>(x[j * d + k]);
            }
            gram[j * m + i] = gram[i * m + j];
        }
    }
}

// Tiles as large as the registers of a level hold.
#if PYASMG_X86_LEVELS
template <class T, class A>
PYASMG_TARGET_V4 void products_v4(std::size_t m, std::size_t d, const T* x, double* gram) {
    products_loop<T, Vector<A, 64>, 4>(m, d, x, gram);
}

template <class T, class A>
PYASMG_TARGET_V3 void products_v3(std::size_t m, std::size_t d, const T* x, double* gram) {
    products_loop<T, Vector<A, 32>, 3>(m, d, x, gram);
}
#endif

template <class T, class A>
void products(std::size_t m, std::size_t d, const T* x, double* gram) {
#if PYASMG_X86_LEVELS
    switch (simd_level()) {
        case SimdLevel::v4:
            return products_v4<T, A>(m, d, x, gram);
        case SimdLevel::v3:
            return products_v3<T, A>(m, d, x, gram);
        case SimdLevel::baseline:
            break;
    }
#endif
    products_loop<T, Vector<A, 16>, 2>(m, d, x, gram);
}

// Whether squares in single precision have lost nothing that double would keep.
bool in_range(std::size_t m, const double* gram) {
    for (std::size_t i = 0; i < m; ++i) {
        const double square = gram[i * m + i];
        if (!(square >= 1e-30 && square <= 1e34)) return false;
    }
    return true;
}

}  // namespace

template <class T>
void row_products(std::size_t m, std::size_t d, const T* x, Precision precision, double* gram) {
    if (precision == Precision::in_double) return products<T, double>(m, d, x, gram);
    products<T, T>(m, d, x, gram);
    if (std::is_same_v<T, float> && !in_range(m, gram)) products<T, double>(m, d, x, gram);
}

template void row_products<float>(std::size_t, std::size_t, const float*, Precision, double*);
template void row_products<double>(std::size_t, std::size_t, const double*, Precision, double*);

}  // namespace pyasmg
