// What the tests of the core share: checks that count, inputs, a search distribution that owns its arrays.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "distribution.hpp"

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

}  // namespace
