// Tests of rng.hpp, distribution.hpp, simd.hpp, parallel.hpp and population.hpp.
#pragma once

#include "common.hpp"
#include "parallel.hpp"
#include "population.hpp"
#include "rng.hpp"
#include "simd.hpp"

namespace {

void test_philox() {  // the known answers of Random123
    struct Answer {
        std::uint32_t counter[4], key[2], expected[4];
    };
    const Answer answers[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}},
        {{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u},
         {0xa4093822u, 0x299f31d0u},
         {0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}},
    };
    for (const Answer& answer : answers) {
        std::uint32_t c[4];
        std::copy(answer.counter, answer.counter + 4, c);
        pyasmg::philox4x32(c[0], c[1], c[2], c[3], answer.key[0], answer.key[1]);
        CHECK(std::equal(c, c + 4, answer.expected), "philox");
    }
}

template <class T>
void test_clip() {
    const T inf = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
    const T most = std::numeric_limits<T>::max(), tiny = std::numeric_limits<T>::denorm_min();
    const T values[] = {0, T(0.3), 1, -1, T(1e6), T(-1e6), most, -most, tiny, -tiny, inf, -inf, nan};
    const T sides[][2] = {
        {0, 1}, {-1, tiny}, {-inf, 1}, {0, inf}, {-inf, inf}, {-most, most}, {1, std::nextafter(T(1), T(2))}};
    for (const auto& side : sides) {
        for (const T value : values) {
            const T inside = pyasmg::clip(value, side[0], side[1]);
            const std::string where = std::string(type_name<T>()) + " " + std::to_string(value) + " in [" +
                                      std::to_string(side[0]) + ", " + std::to_string(side[1]) + "]";
            CHECK(side[0] <= inside && inside <= side[1], where);
            if (side[0] <= value && value <= side[1]) CHECK(inside == value, where);
        }
    }
    CHECK(pyasmg::clip(T(2.25), T(0), T(1)) == T(1), "beyond the upper side");
}

void test_simd_levels() {
    const std::vector<std::string> levels = pyasmg::simd_levels();
    CHECK(!levels.empty() && levels.front() == "baseline", "levels");
    CHECK(pyasmg::simd_level_name() == levels.back(), "the best level is the default");
    for (const std::string& level : levels) {
        pyasmg::set_simd_level(level);
        CHECK(pyasmg::simd_level_name() == level, level);
    }
    CHECK(static_cast<int>(pyasmg::simd_level()) + 1 == static_cast<int>(levels.size()), "levels in order");
    for (const char* name : {"", "x86-64-v9"}) CHECK(refuses([&] { pyasmg::set_simd_level(name); }), name);
}

void test_parallel_for() {
    for (const std::size_t count : {0u, 1u, 2u, 7u, 100u}) {
        for (const int n_threads : {-1, 0, 1, 2, 3, 8}) {
            std::vector<int> seen(count, 0);
            pyasmg::parallel_for(count, n_threads, [&](std::size_t begin, std::size_t end) {
                for (std::size_t i = begin; i < end; ++i) ++seen[i];
            });
            CHECK(seen == std::vector<int>(count, 1), std::to_string(count));
        }
    }
    bool rethrown = false;
    try {
        pyasmg::parallel_for(4, 4, [](std::size_t begin, std::size_t) {
            if (begin == 1) throw std::runtime_error("one share");
        });
    } catch (const std::runtime_error& error) {
        rethrown = std::string(error.what()) == "one share";
    }
    CHECK(rethrown, "an exception comes out of parallel_for");
    CHECK(pyasmg::useful_threads(0, 8) == 1 && pyasmg::useful_threads(std::size_t{1} << 30, 8) == 8 &&
              pyasmg::useful_threads(~std::size_t{0}, 1 << 20) <= 1024 && pyasmg::useful_threads(1, -3) == 1,
          "useful_threads");
}

template <class T>
std::vector<T> population(const Distribution<T>& at, std::size_t first, std::size_t count, int n_threads = 1) {
    std::vector<T> x(count * at.dimension, T(-12345));
    pyasmg::sample_population(at, first, count, x.data(), n_threads);
    return x;
}

template <class T>
std::vector<T> normals(const Distribution<T>& at, std::size_t first, std::size_t count, int n_threads = 1) {
    std::vector<T> z(count * at.dimension, T(-12345));
    pyasmg::sample_normals(at.seed, at.generation, first, count, at.dimension, z.data(), n_threads);
    return z;
}

// The normals behind rows of the population: of every other row with the other sign where they are mirrored.
template <class T>
std::vector<T> normals_behind(const Distribution<T>& at, std::size_t count) {
    if (!at.mirrored) return normals(at, 0, count);
    std::vector<T> z;
    for (std::size_t row = 0; row < count; ++row) {
        for (const T value : normals(at, row / 2, 1)) z.push_back(row % 2 == 1 ? -value : value);
    }
    return z;
}

template <class T>
void test_population() {
    const std::vector<std::string> levels = pyasmg::simd_levels();
    for (const std::size_t d : kDimensions) {
        for (const int kind : {0, 1, 2, 3}) {
            const bool bounded = kind % 2 == 1;
            const Search<T> search(d, bounded, kind >= 2);
            const std::string where = std::string(type_name<T>()) + " d = " + std::to_string(d);
            pyasmg::set_simd_level(levels.front());
            const std::vector<T> z = normals_behind(search.at, 5), x = population(search.at, 0, 5);
            CHECK(all_finite(z), where);
            CHECK(population(search.at, 1, 0).empty() && normals(search.at, 9, 0).empty(), where);
            for (std::size_t j = 0; j < x.size(); ++j) {
                const std::size_t k = j % d;
                T expected = search.mean[k] + search.std[k] * z[j];
                if (bounded) expected = pyasmg::clip(expected, search.low[k], search.high[k]);
                CHECK(x[j] == expected, where);
            }
            for (const std::string& level : levels) {
                pyasmg::set_simd_level(level);
                CHECK(same_bits(normals_behind(search.at, 5), z), where + " " + level);
                for (std::size_t first = 0; first < 5; ++first) {
                    for (std::size_t count = 1; first + count <= 5; ++count) {
                        const auto begin = x.begin() + static_cast<std::ptrdiff_t>(first * d);
                        const std::vector<T> rows(begin, begin + static_cast<std::ptrdiff_t>(count * d));
                        CHECK(same_bits(population(search.at, first, count), rows), where + " " + level);
                    }
                }
            }
        }
    }
    // The last candidate that a counter can name, and the largest seed and generation.
    Search<T> search(65, false, false, ~std::uint64_t{0});
    search.at.generation = ~std::uint32_t{0};
    CHECK(all_finite(population(search.at, ~std::uint32_t{0}, 1)), "largest counters");
}

template <class T>
void test_moments() {
    const Distribution<T> at{100000, nullptr, nullptr, nullptr, nullptr, 11, 0};
    const std::vector<T> z = normals(at, 0, 2);
    double sum = 0.0, square = 0.0;
    for (const T value : z) {
        sum += value;
        square += static_cast<double>(value) * static_cast<double>(value);
    }
    const auto n = static_cast<double>(z.size());
    CHECK(std::abs(sum / n) < 5.0 / std::sqrt(n), type_name<T>());
    CHECK(std::abs(square / n - 1.0) < 5.0 * std::sqrt(2.0 / n), type_name<T>());
}

}  // namespace
