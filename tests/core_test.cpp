// Drives every public function of the core with ordinary and with hostile input. Its own right answers are
// plain loops; built with the sanitizers it also shows that no path reads or writes outside its arrays. Every
// array here is exactly as large as promised, so that an access past its end is seen.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "distribution.hpp"
#include "estimator.hpp"
#include "fair_weights.hpp"
#include "objectives.hpp"
#include "parallel.hpp"
#include "population.hpp"
#include "rng.hpp"
#include "simd.hpp"
#include "simplex_qp.hpp"
#include "update.hpp"

namespace {

using pyasmg::Distribution;

int n_checks = 0, n_failures = 0;

void report(bool ok, const char* file, int line, const char* text, const std::string& where) {
    ++n_checks;
    if (ok) return;
    ++n_failures;
    std::printf("%s:%d: CHECK(%s) failed: %s\n", file, line, text, where.c_str());
}

#define CHECK(condition, where) report((condition), __FILE__, __LINE__, #condition, (where))

template <class Function>
bool refuses(const Function& function) {
    try {
        function();
    } catch (const std::invalid_argument&) {
        return true;
    }
    return false;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <class T>
bool all_finite(const std::vector<T>& values) {
    for (const T value : values) {
        if (!std::isfinite(value)) return false;
    }
    return true;
}

template <class T>
constexpr const char* type_name() {
    return std::is_same_v<T, float> ? "float" : "double";
}

template <class T>
std::vector<T> normal_vector(std::size_t n, std::mt19937_64& random, double scale = 1.0, double shift = 0.0) {
    std::normal_distribution<double> normal;
    std::vector<T> values(n);
    for (T& value : values) value = static_cast<T>(shift + scale * normal(random));
    return values;
}

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kHuge = std::numeric_limits<double>::max();
constexpr double kDenormal = std::numeric_limits<double>::denorm_min();
const std::vector<std::size_t> kDimensions = {1, 15, 63, 64, 65, 1000};

// A search distribution that owns its arrays; bounded ones have some infinite sides.
template <class T>
struct Search {
    std::vector<T> mean, std, low, high;
    Distribution<T> at{};

    explicit Search(std::size_t d, bool bounded = false, bool mirrored = false, std::uint64_t seed = 7) {
        std::mt19937_64 random(seed + d);
        mean = normal_vector<T>(d, random);
        std = normal_vector<T>(d, random, 0.2);
        for (T& value : std) value = std::exp(value);
        if (bounded) {
            low.resize(d);
            high.resize(d);
            for (std::size_t k = 0; k < d; ++k) {
                low[k] = k % 5 == 1 ? -std::numeric_limits<T>::infinity() : mean[k] - T(0.5);
                high[k] = k % 5 == 2 ? std::numeric_limits<T>::infinity() : mean[k] + T(0.25);
            }
        }
        at = {d,    mean.data(), std.data(), bounded ? low.data() : nullptr, bounded ? high.data() : nullptr,
              seed, 3,           mirrored};
    }
    Search(const Search&) = delete;
    Search& operator=(const Search&) = delete;
};

// ---------------------------------------------------------------- rng.hpp, distribution.hpp, simd.hpp,
// parallel.hpp

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

// ---------------------------------------------------------------- population.hpp

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

// ---------------------------------------------------------------- estimator.hpp

template <class T>
struct Answer {
    std::vector<T> p, h;
    std::vector<double> gram, row_sums;
};

template <class T>
Answer<T> estimated(const Distribution<T>& at, const std::vector<T>* x, const std::vector<std::uint8_t>& valid,
                    std::size_t m, const std::vector<T>& w, int n_threads = 1) {
    const T junk(-7777);
    Answer<T> answer{std::vector<T>(m * at.dimension, junk), std::vector<T>(m * at.dimension, junk),
                     std::vector<double>(m * m, -7777.0), std::vector<double>(valid.size(), -7777.0)};
    pyasmg::estimate(at, pyasmg::Sample<T>{valid.size(), x != nullptr ? x->data() : nullptr, valid.data()}, m, w.data(),
                     pyasmg::Estimate<T>{answer.p.data(), answer.h.data(), answer.gram.data(), answer.row_sums.data()},
                     n_threads);
    return answer;
}

template <class T>
bool same_bits(const Answer<T>& a, const Answer<T>& b) {
    return same_bits(a.p, b.p) && same_bits(a.h, b.h) && same_bits(a.gram, b.gram) && same_bits(a.row_sums, b.row_sums);
}

// Compares with the definition, summed in double.
template <class T>
void check_estimate(const Answer<T>& answer, std::size_t d, std::size_t m, const std::vector<T>& z,
                    const std::vector<std::uint8_t>& valid, const std::vector<T>& w, const std::string& where) {
    const double tolerance = std::is_same_v<T, float> ? 2e-4 : 1e-11;
    std::vector<double> p(m * d, 0.0), h(m * d, 0.0);
    for (std::size_t j = 0; j < valid.size(); ++j) {
        double square = 0.0;
        for (std::size_t k = 0; valid[j] != 0 && k < d; ++k) {
            const auto value = static_cast<double>(z[j * d + k]);
            square += value * value;
            for (std::size_t i = 0; i < m; ++i) {
                p[i * d + k] += static_cast<double>(w[j * m + i]) * value;
                h[i * d + k] += 0.5 * static_cast<double>(w[j * m + i]) * (value * value - 1.0);
            }
        }
        CHECK(std::abs(answer.row_sums[j] - square) <= tolerance * (1.0 + square), where);
    }
    double worst = 0.0;
    for (std::size_t k = 0; k < m * d; ++k) {
        worst = std::max({worst, std::abs(answer.p[k] - p[k]), std::abs(answer.h[k] - h[k])});
    }
    CHECK(worst <= tolerance, where + " error " + std::to_string(worst));
    for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j < m; ++j) {
            double sum = 0.0;
            for (std::size_t k = 0; k < d; ++k) {
                sum += p[i * d + k] * p[j * d + k] + 2.0 * h[i * d + k] * h[j * d + k];
            }
            CHECK(std::abs(answer.gram[i * m + j] - sum) <= tolerance * (1.0 + static_cast<double>(d)), where);
        }
    }
}

template <class T>
void test_estimate() {
    const std::vector<std::string> levels = pyasmg::simd_levels();
    std::mt19937_64 random(5);
    const std::size_t shapes[][3] = {{1, 1, 1},  {2, 15, 2},    {3, 63, 3},    {4, 64, 1},
                                     {5, 65, 7}, {20, 1000, 3}, {7, 1025, 40}, {6, 2049, 2}};
    for (const auto& [n, d, m] : shapes) {
        for (const int kind : {0, 1, 2, 3}) {
            const bool bounded = kind % 2 == 1;
            const Search<T> search(d, bounded, kind >= 2);
            pyasmg::set_simd_level(levels.front());
            const std::string where = std::string(type_name<T>()) + " N = " + std::to_string(n) +
                                      ", d = " + std::to_string(d) + ", m = " + std::to_string(m) +
                                      (bounded ? ", bounded" : "");
            std::vector<T> z = normals_behind(search.at, n), x = population(search.at, 0, n);
            std::vector<T> w = normal_vector<T>(n * m, random, 1.0 / static_cast<double>(n));
            std::vector<std::uint8_t> valid(n, 1);
            if (n > 2) {  // a failed row, whose candidate and values are never read
                valid[1] = 0;
                std::fill_n(x.begin() + static_cast<std::ptrdiff_t>(d), d, static_cast<T>(kNan));
                std::fill_n(w.begin() + static_cast<std::ptrdiff_t>(m), m, static_cast<T>(kNan));
            }
            const Answer<T> regenerated = estimated(search.at, static_cast<std::vector<T>*>(nullptr), valid, m, w);
            const Answer<T> given = estimated(search.at, &x, valid, m, w);
            check_estimate(regenerated, d, m, z, valid, w, where);
            check_estimate(given, d, m, z, valid, w, where);
            if (bounded) CHECK(same_bits(regenerated, given), where);
            x[d - 1] += T(0.0625);  // a changed candidate counts where it was evaluated
            z[d - 1] = (x[d - 1] - search.mean[d - 1]) / search.std[d - 1];
            const Answer<T> changed = estimated(search.at, &x, valid, m, w);
            check_estimate(changed, d, m, z, valid, w, where + ", changed");
            for (const std::string& level : levels) {
                pyasmg::set_simd_level(level);
                for (const int n_threads : {1, 2, 3, 4}) {
                    CHECK(same_bits(estimated(search.at, &x, valid, m, w, n_threads), changed), where + " " + level);
                }
            }
            const Answer<T> none = estimated(search.at, &x, std::vector<std::uint8_t>(n, 0), m, w);
            CHECK(none.p == std::vector<T>(m * d, T(0)) && none.h == none.p, where + ", all rows failed");
            CHECK(none.gram == std::vector<double>(m * m, 0.0), where + ", all rows failed");
        }
    }
}

template <class T>
void test_hostile_estimate() {
    const Search<T> bounded(65, true), free(65, false);
    const std::size_t n = 6;
    for (const auto* search : {&bounded, &free}) {
        for (const double value : {kNan, kInf, -kInf, kDenormal, static_cast<double>(std::numeric_limits<T>::max())}) {
            std::vector<T> x = population(search->at, 0, n);
            x[70] = static_cast<T>(value);
            const std::vector<T> w(n, T(0.25));
            const auto answer = estimated(search->at, &x, std::vector<std::uint8_t>(n, 1), 1, w);
            const bool ordinary = std::abs(value) < 1.0;
            if (ordinary) CHECK(std::isfinite(answer.row_sums[1]), "a denormal is a number like others");
            if (!std::isfinite(static_cast<T>(value)))
                CHECK(!std::isfinite(answer.row_sums[1]), "seen in the row sums");
            CHECK(std::isfinite(answer.row_sums[0]), "other rows are untouched");
        }
    }
}

// Enough samples for four threads; one wide candidate, and many.
template <class T>
void test_threads() {
    const std::size_t shapes[][2] = {{1, 600011}, {64, 10007}, {600, 1000}};
    for (const auto& [n, d] : shapes) {
        for (const int kind : {0, 1, 2}) {
            const Search<T> search(d, kind == 1, kind == 2);
            const std::string where = std::string(type_name<T>()) + " N = " + std::to_string(n);
            const std::vector<T> z = normals(search.at, 0, n), x = population(search.at, 0, n);
            const std::vector<T> w(n * 2, T(1) / static_cast<T>(n));
            std::vector<std::uint8_t> valid(n, 1);
            if (n > 1) valid[n / 2] = 0;
            const Answer<T> answer = estimated(search.at, &x, valid, 2, w);
            for (const int n_threads : {2, 3, 4}) {
                CHECK(same_bits(normals(search.at, 0, n, n_threads), z), where);
                CHECK(same_bits(population(search.at, 0, n, n_threads), x), where);
                CHECK(same_bits(estimated(search.at, &x, valid, 2, w, n_threads), answer), where);
            }
        }
    }
}

// ---------------------------------------------------------------- update.hpp

template <class T>
struct Updated {
    std::vector<T> mean, std;
    pyasmg::UpdateSummary summary;
};

template <class T>
Updated<T> updated(const Search<T>& search, const std::vector<T>& p, const std::vector<T>& h,
                   const std::vector<double>& coefficients, double mean_step, double std_step, double std_shift,
                   pyasmg::StdForm form) {
    const T junk(-7777);
    const std::size_t d = search.at.dimension;
    Updated<T> result{std::vector<T>(d, junk), std::vector<T>(d, junk), {}};
    pyasmg::UpdateInput<T> input{d,        coefficients.size(), p.data(), h.data(),      coefficients.data(), mean_step,
                                 std_step, std_shift,           form,     search.at.low, search.at.high};
    result.summary = pyasmg::update_distribution(input, search.mean.data(), search.std.data(), result.mean.data(),
                                                 result.std.data());
    std::vector<T> first_p = p, first_h = h;  // the same into the first rows of the gradients
    input.mean_gradient = first_p.data();
    input.std_gradient = first_h.data();
    const auto again =
        pyasmg::update_distribution(input, search.mean.data(), search.std.data(), first_p.data(), first_h.data());
    first_p.resize(d);
    first_h.resize(d);
    CHECK(same_bits(first_p, result.mean) && same_bits(first_h, result.std), "written over the gradients");
    CHECK(again.max_std == result.summary.max_std && again.finite == result.summary.finite,
          "written over the gradients");
    return result;
}

template <class T>
void test_update() {
    const std::vector<std::string> levels = pyasmg::simd_levels();
    const double tolerance = std::is_same_v<T, float> ? 1e-5 : 1e-13;
    std::mt19937_64 random(9);
    for (const std::size_t d : {1u, 15u, 64u, 65u, 1000u, 2049u}) {
        for (const std::size_t m : {1u, 3u}) {
            for (const auto form : {pyasmg::StdForm::exponential, pyasmg::StdForm::inverse}) {
                for (const bool bounded : {false, true}) {
                    const std::string where = std::string(type_name<T>()) + " d = " + std::to_string(d);
                    const Search<T> search(d, bounded);
                    const auto p = normal_vector<T>(m * d, random), h = normal_vector<T>(m * d, random, 2.0);
                    const std::vector<double> c(m, 0.5);
                    pyasmg::set_simd_level(levels.front());
                    const auto result = updated(search, p, h, c, 0.5, 0.25, 0.125, form);
                    CHECK(result.summary.finite && result.summary.effective, where);
                    for (std::size_t k = 0; k < d; ++k) {
                        double step = 0.0, slope = 0.0;
                        for (std::size_t i = 0; i < m; ++i) step += 0.5 * p[i * d + k], slope += 0.5 * h[i * d + k];
                        auto mean = static_cast<T>(search.mean[k] - 0.5 * search.std[k] * step);
                        double factor = form == pyasmg::StdForm::exponential
                                            ? std::exp(-0.25 * (slope - 0.125))
                                            : 1.0 / std::sqrt(std::max(0.25, 1.0 + 0.5 * (slope - 0.125)));
                        factor = std::min(2.0, std::max(0.5, factor));
                        auto std = static_cast<double>(search.std[k]) * factor;
                        if (bounded) {
                            mean = pyasmg::clip(mean, search.low[k], search.high[k]);
                            std = std::min(std, static_cast<double>(search.high[k] - search.low[k]));
                        }
                        CHECK(std::abs(result.mean[k] - mean) <= tolerance * (1.0 + std::abs(mean)), where);
                        CHECK(std::abs(result.std[k] - std) <= tolerance * std, where);
                        CHECK(result.summary.min_std <= result.std[k] && result.std[k] <= result.summary.max_std,
                              where);
                    }
                    for (const std::string& level : levels) {
                        pyasmg::set_simd_level(level);
                        const auto again = updated(search, p, h, c, 0.5, 0.25, 0.125, form);
                        CHECK(same_bits(again.mean, result.mean) && same_bits(again.std, result.std), where + level);
                        CHECK(again.summary.max_std == result.summary.max_std, where + level);
                    }
                }
            }
        }
    }
}

template <class T>
void test_hostile_update() {
    const T limit = std::is_same_v<T, float> ? T(1e30) : T(1e150);
    for (const bool bounded : {false, true}) {
        for (const auto form : {pyasmg::StdForm::exponential, pyasmg::StdForm::inverse}) {
            for (const double value : {kNan, kInf, -kInf, kHuge, -kHuge, kDenormal, 0.0}) {
                Search<T> search(65, bounded);
                std::vector<T> p(65, T(0)), h(65, T(0));
                p[3] = h[4] = p[64] = h[64] = static_cast<T>(value);
                const auto result = updated(search, p, h, {1.0}, 1.0, 1.0, 0.0, form);
                const std::string where = std::string(type_name<T>()) + " " + std::to_string(value);
                bool inside = true;
                for (std::size_t k = 0; k < 65; ++k) {
                    CHECK(result.std[k] > T(0) && result.std[k] <= limit, where);
                    inside = inside && std::abs(result.mean[k]) <= limit;
                    if (bounded) CHECK(search.low[k] <= result.mean[k] && result.mean[k] <= search.high[k], where);
                }
                CHECK(result.summary.finite == inside, where);
            }
            for (const double scale : {1e-29, 1e29}) {  // stds stop at both ends of their range
                Search<T> search(15, false);
                for (T& std : search.std) std = static_cast<T>(scale);
                for (int step = 0; step < 1200; ++step) {
                    const std::vector<T> p(15, T(0)), h(15, scale < 1.0 ? T(9) : T(-9));
                    const auto result = updated(search, p, h, {1.0}, 1.0, 1.0, 0.0, form);
                    std::copy(result.std.begin(), result.std.end(), search.std.begin());
                }
                CHECK(search.std[7] > T(0) && std::isfinite(T(1) / search.std[7]) && search.std[7] <= limit, "range");
            }
        }
    }
    Search<T> search(4, false);
    for (T& std : search.std) std = std::is_same_v<T, float> ? T(1e-20) : T(1e-100);
    for (T& mean : search.mean) mean = T(1);
    const std::vector<T> zero(4, T(0));
    CHECK(!updated(search, zero, zero, {1.0}, 1.0, 1.0, 0.0, pyasmg::StdForm::exponential).summary.effective,
          "no effect");
}

// ---------------------------------------------------------------- objectives.hpp

struct Conditioned {
    std::vector<double> w, offset, scale, median, spread;
    std::vector<std::uint8_t> valid;
    std::size_t n_valid;
};

Conditioned conditioned(std::size_t n, std::size_t m, const std::vector<double>& values, bool standardise,
                        const double* center = nullptr) {
    Conditioned c{std::vector<double>(n * m, kNan),
                  std::vector<double>(m, kNan),
                  std::vector<double>(m, kNan),
                  std::vector<double>(m, kNan),
                  std::vector<double>(m, kNan),
                  std::vector<std::uint8_t>(n, 9),
                  999};
    pyasmg::ObjectiveSummary summary{
        0, c.offset.data(), c.scale.data(), c.median.data(), c.spread.data(), c.valid.data()};
    pyasmg::condition_objectives(n, m, values.data(), center, standardise, c.w.data(), summary);
    c.n_valid = summary.n_valid;
    return c;
}

// Compares with the definition, for equal weights.
void check_aggregate(const Conditioned& c, std::size_t n, std::size_t m, const std::string& where) {
    const std::vector<double> weights(m, 1.0 / static_cast<double>(m));
    std::vector<double> row_sums(n), a(n, 0.0);
    double mean = 0.0, square = 0.0, gradient = 0.0;
    const auto n_valid = static_cast<double>(c.n_valid);
    for (std::size_t j = 0; j < n; ++j) {
        row_sums[j] = c.valid[j] != 0 ? 5.0 + static_cast<double>(j) : 0.0;
        for (std::size_t i = 0; c.valid[j] != 0 && i < m; ++i)
            a[j] += n_valid * c.w[j * m + i] / static_cast<double>(m);
        mean += a[j] / n_valid;
    }
    for (std::size_t j = 0; j < n; ++j) {
        if (c.valid[j] == 0) continue;
        square += std::pow(a[j] - mean, 2) / n_valid;
        gradient += 0.5 * (a[j] - mean) / n_valid * (row_sums[j] / 10.0 - 1.0);
    }
    const pyasmg::Aggregate found =
        pyasmg::aggregate(n, m, c.w.data(), c.valid.data(), c.n_valid, weights.data(), row_sums.data(), 10);
    CHECK(std::abs(found.std - std::sqrt(square)) < 1e-7, where);  // the square root of a rounding, for one row
    CHECK(std::abs(found.mean_std_gradient - gradient) < 1e-11 * static_cast<double>(n), where);
}

void test_follow_scales() {
    double scale[] = {2.0, 0.0, kDenormal, kHuge}, log_scale[4] = {}, count[4] = {}, ratio[4];
    pyasmg::follow_scales(4, scale, log_scale, count, ratio);
    for (const int i : {0, 2, 3}) {
        CHECK(ratio[i] == 1.0 && count[i] == 1.0, "the first unit is the first scale");
        CHECK(std::abs(log_scale[i] - std::log(scale[i])) <= 1e-15 * std::abs(log_scale[i]) + 1e-15, "logarithm");
    }
    CHECK(ratio[1] == 0.0 && count[1] == 0.0 && log_scale[1] == 0.0, "a constant objective is left alone");
    std::swap(scale[2], scale[3]);
    for (int step = 0; step < 50; ++step) {
        pyasmg::follow_scales(4, scale, log_scale, count, ratio);
        for (const int i : {0, 2, 3}) CHECK(std::isfinite(log_scale[i]) && std::isfinite(ratio[i]), "hostile scales");
        CHECK(std::abs(ratio[0] - 1.0) < 1e-5, "a scale that stays");
    }
    const double expected = std::exp(std::log(scale[2]) - log_scale[2]);
    CHECK(std::abs(ratio[2] - expected) <= 1e-5 * expected, "ratio");
}

void test_objectives() {
    std::mt19937_64 random(21);
    for (const std::size_t n : {1u, 2u, 3u, 20u, 101u}) {
        for (const std::size_t m : {1u, 3u, 17u}) {
            std::vector<double> values = normal_vector<double>(n * m, random, 3.0, 5.0);
            if (n > 4) values[m] = kNan, values[3 * m - 1] = -kInf;  // rows 1 and 2
            const std::size_t n_valid = n > 4 ? n - 2 : n;
            const std::vector<double> center = normal_vector<double>(m, random);
            for (const bool standardise : {false, true}) {
                for (const double* at : {static_cast<const double*>(nullptr), center.data()}) {
                    const auto c = conditioned(n, m, values, standardise, at);
                    const std::string where = "N = " + std::to_string(n) + ", m = " + std::to_string(m);
                    CHECK(c.n_valid == n_valid, where);
                    for (std::size_t i = 0; i < m; ++i) {
                        double sum = 0.0, square = 0.0;
                        const double scale = standardise ? c.scale[i] : 1.0, share = 1.0 / static_cast<double>(n_valid);
                        const double rounding = 1e-12 + (standardise ? 0x1p-20 * share : 0.0);
                        for (std::size_t j = 0; j < n; ++j) {
                            CHECK((c.valid[j] == 1) == !(n > 4 && (j == 1 || j == 2)), where);
                            const bool counts = c.valid[j] != 0 && scale > 0.0;
                            const double expected = counts ? (values[j * m + i] - c.offset[i]) / scale * share : 0.0;
                            CHECK(std::abs(c.w[j * m + i] - expected) <= rounding, where);
                            if (c.valid[j] != 0) sum += values[j * m + i] * share;
                        }
                        for (std::size_t j = 0; j < n; ++j) {
                            if (c.valid[j] != 0) square += std::pow(values[j * m + i] - sum, 2) * share;
                        }
                        CHECK(std::abs(c.scale[i] - std::sqrt(square)) < 1e-12, where);
                        CHECK(std::abs(c.offset[i] - (at != nullptr ? at[i] : sum)) < 1e-12, where);
                    }
                    check_aggregate(c, n, m, where);
                }
            }
        }
    }
}

void test_hostile_objectives() {
    const double columns[][4] = {
        {kHuge, -kHuge, 0.0, 1.0},     {kDenormal, 0.0, 2 * kDenormal, 0.0}, {1e-310, 3e-310, 2e-310, 1e-310},
        {kHuge, kHuge, kHuge, kHuge},  {1.0, 1.0 + 0x1p-52, 1.0, 1.0},       {0.0, -0.0, 0.0, 0.0},
        {1e300, 1e-300, -1e300, 1e10}, {kHuge, kHuge, kHuge, -kHuge},
    };
    for (const auto& column : columns) {
        const std::vector<double> values(column, column + 4);
        for (const double center : {kNan, 0.0, 1.0}) {  // NaN: none
            const auto c = conditioned(4, 1, values, true, std::isnan(center) ? nullptr : &center);
            const std::string where = "column from " + std::to_string(column[0]);
            CHECK(c.n_valid == 4 && std::isfinite(c.scale[0]) && std::isfinite(c.offset[0]), where);
            if (std::isnan(center)) CHECK(all_finite(c.w), where);
            for (const double weight : {0.0, kDenormal, 1.0, kHuge}) {
                const double row_sums[] = {0.0, kDenormal, 1.0, kHuge};
                pyasmg::aggregate(4, 1, c.w.data(), c.valid.data(), 4, &weight, row_sums, 1);
            }
            conditioned(4, 1, values, false, std::isnan(center) ? nullptr : &center);
        }
    }
    const auto none = conditioned(3, 2, {kNan, 1, 2, kInf, -kInf, 0}, true);
    CHECK(none.n_valid == 0 && none.w == std::vector<double>(6, 0.0), "every row failed");
    const double weights[] = {0.5, 0.5};
    const double row_sums[] = {0.0, 0.0, 0.0};
    const auto nothing = pyasmg::aggregate(3, 2, none.w.data(), none.valid.data(), 0, weights, row_sums, 5);
    CHECK(nothing.std == 0.0 && nothing.mean_std_gradient == 0.0, "every row failed");
}

// ---------------------------------------------------------------- simplex_qp.hpp

std::vector<double> gram_of(const std::vector<double>& vectors, std::size_t m, std::size_t r) {
    std::vector<double> gram(m * m);
    for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j < m; ++j) {
            double sum = 0.0;
            for (std::size_t k = 0; k < r; ++k) sum += vectors[i * r + k] * vectors[j * r + k];
            gram[i * m + j] = sum;
        }
    }
    return gram;
}

// The weights lie on the simplex; where `conditions`, no vertex descends from them (to 1e-9 of the largest entry).
void check_simplex(std::size_t m, const std::vector<double>& gram, const std::string& where, bool conditions = true) {
    std::vector<double> weights(m, kNan), again(m, kNan);
    const double value = pyasmg::simplex_qp(m, gram.data(), weights.data());
    double sum = 0.0, least = kInf;
    for (const double weight : weights) {
        CHECK(weight >= 0.0, where);
        sum += weight;
    }
    CHECK(std::abs(sum - 1.0) < 1e-12, where);
    CHECK(value >= 0.0 && std::isfinite(value), where);
    for (std::size_t i = 0; i < m; ++i) least = std::min(least, gram[i * m + i]);
    CHECK(value <= least * (1.0 + 1e-9), where);
    CHECK(pyasmg::simplex_qp(m, gram.data(), again.data()) == value && same_bits(weights, again), where);
    if (!conditions) return;
    double largest = 0.0;
    for (const double entry : gram) largest = std::max(largest, std::abs(entry));
    for (std::size_t i = 0; i < m; ++i) {
        double slope = 0.0;
        for (std::size_t j = 0; j < m; ++j) slope += gram[i * m + j] * weights[j];
        CHECK(slope >= value - 1e-9 * largest, where);
    }
}

void test_simplex_qp() {
    std::mt19937_64 random(33);
    for (const std::size_t m : {1u, 2u, 3u, 4u, 7u, 10u, 33u, 64u, 100u, 200u}) {
        for (const std::size_t r : {std::size_t{1}, std::max<std::size_t>(1, m / 2), m, 3 * m}) {
            const std::string where = "m = " + std::to_string(m) + ", rank " + std::to_string(r);
            std::vector<double> vectors = normal_vector<double>(m * r, random, 1.0, 0.3);
            check_simplex(m, gram_of(vectors, m, r), where);
            for (std::size_t i = 0; i < m * r; ++i) vectors[i] = std::round(4.0 * vectors[i]);  // ties, zero rows
            check_simplex(m, gram_of(vectors, m, r), where + ", integers");
            if (m > 100) continue;
            for (std::size_t i = 0; i < m; ++i) {  // norms from 1e-15 to 1e15
                const double norm = std::pow(10.0, -15.0 + 30.0 * static_cast<double>(i) / static_cast<double>(m));
                for (std::size_t k = 0; k < r; ++k) vectors[i * r + k] *= norm;
            }
            check_simplex(m, gram_of(vectors, m, r), where + ", wide norms", false);
        }
        std::vector<double> identity(m * m, 0.0), ones(m * m, 1.0), zero(m * m, 0.0);
        for (std::size_t i = 0; i < m; ++i) identity[i * m + i] = 1.0;
        check_simplex(m, identity, "identity");
        check_simplex(m, ones, "duplicates");
        check_simplex(m, zero, "zero");
        for (const double scale : {1e-308, 1e-150, 1e150, 1e308}) {
            std::vector<double> scaled = identity;
            for (double& entry : scaled) entry *= scale;
            check_simplex(m, scaled, "identity times " + std::to_string(scale));
        }
        std::vector<double> noisy = ones;  // a little indefinite, as rounding leaves it
        for (double& entry : noisy) entry += 1e-15 * std::normal_distribution<double>()(random);
        for (std::size_t i = 0; i < m; ++i) {
            for (std::size_t j = 0; j < i; ++j) noisy[i * m + j] = noisy[j * m + i];
        }
        check_simplex(m, noisy, "noisy duplicates");
        std::vector<double> negative(m * m, -1.0);  // far from any Gram matrix
        for (std::size_t i = 0; i < m; ++i) negative[i * m + i] = 1.0;
        check_simplex(m, negative, "indefinite", false);
    }
    check_simplex(2, {kDenormal, 0.0, 0.0, kDenormal}, "denormal", false);
    check_simplex(2, {kHuge, -kHuge, -kHuge, kHuge}, "huge", false);
    check_simplex(2, {kHuge, kHuge, kHuge, kDenormal}, "entries beyond Cauchy-Schwarz", false);
    check_simplex(3, {1, 0, 0, 0, 0, 0, 0, 0, 1}, "a zero gradient");
}

void test_simplex_qp_refuses() {
    std::vector<double> weights(2, kNan);
    CHECK(refuses([&] { pyasmg::simplex_qp(0, nullptr, nullptr); }), "m = 0");
    const std::vector<std::vector<double>> bad = {{kNan, 0, 0, 1}, {1, kInf, kInf, 1}, {1, -kInf, 0, 1},
                                                  {-1, 0, 0, 1},   {1, 0.5, -0.5, 1},  {-kDenormal, 0, 0, 1}};
    for (const auto& gram : bad) {
        CHECK(refuses([&] { pyasmg::simplex_qp(2, gram.data(), weights.data()); }), std::to_string(gram[0]));
    }
}

// ---------------------------------------------------------------- fair_weights.hpp

// Positive and finite where the gradient is not zero, the same bits again; where `solvable`, G w = (c / w)^(1/alpha).
void check_fair(std::size_t m, const std::vector<double>& gram, double alpha, const std::vector<double>& preference,
                const std::string& where, bool solvable = false) {
    std::vector<double> weights(m, kNan), again(m, kNan);
    const int n_steps = pyasmg::fair_weights(m, gram.data(), alpha, preference.data(), weights.data());
    CHECK(0 <= n_steps && n_steps <= 5000, where);
    for (std::size_t i = 0; i < m; ++i) {
        CHECK(std::isfinite(weights[i]) && (weights[i] > 0.0) == (gram[i * m + i] > 0.0), where);
    }
    CHECK(pyasmg::fair_weights(m, gram.data(), alpha, preference.data(), again.data()) == n_steps, where);
    CHECK(same_bits(weights, again), where);
    if (!solvable) return;
    for (std::size_t i = 0; i < m; ++i) {
        const double right = std::pow(preference[i] / weights[i], 1.0 / alpha);
        double sum = 0.0, magnitude = right;
        for (std::size_t j = 0; j < m; ++j) {
            sum += gram[i * m + j] * weights[j];
            magnitude += std::abs(gram[i * m + j]) * weights[j];
        }
        CHECK(std::abs(sum - right) <= 1e-11 * magnitude, where);
    }
}

void test_fair_weights() {
    std::mt19937_64 random(34);
    const std::vector<double> alphas = {1e-300, 1e-3, 0.5, 1.0, 2.0, 5.0, 1e3, kHuge};
    for (const std::size_t m : {1u, 2u, 3u, 7u, 33u}) {
        const std::vector<double> ones(m, 1.0);
        for (const std::size_t r : {std::size_t{1}, std::max<std::size_t>(1, m / 2), 2 * m}) {
            std::vector<double> vectors = normal_vector<double>(m * r, random);
            const std::vector<double> gram = gram_of(vectors, m, r);
            for (double& value : vectors) value = std::round(2.0 * value);  // opposing, equal and zero rows
            const std::vector<double> integers = gram_of(vectors, m, r);
            for (const double alpha : alphas) {
                const std::string where =
                    "m = " + std::to_string(m) + ", rank " + std::to_string(r) + ", alpha " + std::to_string(alpha);
                check_fair(m, gram, alpha, ones, where, r > m && 0.5 <= alpha && alpha <= 5.0);
                check_fair(m, integers, alpha, ones, where + ", integers");
            }
        }
        std::vector<double> identity(m * m, 0.0), opposed(m * m, -1.0), wide = ones;
        for (std::size_t i = 0; i < m; ++i) identity[i * m + i] = opposed[i * m + i] = 1.0;
        for (std::size_t i = 0; i < m; ++i) wide[i] = i % 3 == 0 ? kHuge : i % 3 == 1 ? kDenormal : 1.0;
        for (const double alpha : alphas) {
            check_fair(m, identity, alpha, wide, "preferences of any size");
            check_fair(m, opposed, alpha, ones, "far from any Gram matrix");
            check_fair(m, std::vector<double>(m * m, 0.0), alpha, ones, "zero");
            for (const double scale : {kDenormal, 1e-308, 1e150, kHuge}) {
                std::vector<double> scaled = identity;
                scaled[0] *= scale;
                check_fair(m, scaled, alpha, wide, "identity with " + std::to_string(scale));
                for (std::size_t i = 1; i < m; ++i) scaled[i] = scaled[i * m] = std::sqrt(scale);
                check_fair(m, scaled, alpha, wide, "all along the first, which is " + std::to_string(scale));
            }
        }
    }
}

void test_fair_weights_refuses() {
    std::vector<double> weights(2, kNan);
    const std::vector<double> identity = {1, 0, 0, 1}, ones = {1, 1};
    CHECK(refuses([&] { pyasmg::fair_weights(0, nullptr, 1.0, nullptr, nullptr); }), "m = 0");
    for (const double bad : {0.0, -1.0, kInf, -kInf, kNan}) {
        const std::vector<double> preference = {1, bad};
        const std::string where = std::to_string(bad);
        CHECK(refuses([&] { pyasmg::fair_weights(2, identity.data(), bad, ones.data(), weights.data()); }), where);
        CHECK(refuses([&] { pyasmg::fair_weights(2, identity.data(), 1.0, preference.data(), weights.data()); }),
              where);
    }
    const std::vector<std::vector<double>> bad = {
        {kNan, 0, 0, 1}, {1, kInf, kInf, 1}, {-1, 0, 0, 1}, {1, 0.5, -0.5, 1}};
    for (const auto& gram : bad) {
        CHECK(refuses([&] { pyasmg::fair_weights(2, gram.data(), 1.0, ones.data(), weights.data()); }), "G");
    }
}

// ---------------------------------------------------------------- several callers at once, as threads
// without the GIL are

void test_concurrent_callers() {
    const Search<double> search(1000, true);
    std::vector<double> answers[3];
    std::vector<std::thread> callers;
    for (auto& answer : answers) {
        callers.emplace_back([&answer, &search] {
            const auto x = population(search.at, 0, 300, 2);
            const std::vector<double> w(600, 1.0 / 300.0);
            const auto e = estimated(search.at, &x, std::vector<std::uint8_t>(300, 1), 2, w, 2);
            answer = e.gram;
            std::vector<double> weights(2);
            answer.push_back(pyasmg::simplex_qp(2, e.gram.data(), weights.data()));
        });
    }
    for (auto& caller : callers) caller.join();
    CHECK(same_bits(answers[0], answers[1]) && same_bits(answers[1], answers[2]), "concurrent callers");
}

template <class T>
void test_kernels() {
    test_clip<T>();
    test_population<T>();
    test_moments<T>();
    test_estimate<T>();
    test_hostile_estimate<T>();
    test_threads<T>();
    test_update<T>();
    test_hostile_update<T>();
}

}  // namespace

int main() {
    test_simd_levels();
    test_parallel_for();
    test_philox();
    test_kernels<float>();
    test_kernels<double>();
    test_objectives();
    test_follow_scales();
    test_hostile_objectives();
    test_simplex_qp();
    test_simplex_qp_refuses();
    test_fair_weights();
    test_fair_weights_refuses();
    test_concurrent_callers();
    std::printf("%d checks, %d failures, levels up to %s\n", n_checks, n_failures,
                pyasmg::simd_levels().back().c_str());
    return n_failures == 0 ? 0 : 1;
}
