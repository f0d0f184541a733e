// Tests of csrc/cuda/: its kernels, run on the host block by block and thread by thread, give the bits of the CPU's
// core.
#pragma once

#include <algorithm>

#include "../../csrc/cuda/search.hpp"
#include "estimator_test.hpp"
#include "update_test.hpp"

namespace {

namespace device = pyasmg::device;

constexpr std::size_t kRoom = std::size_t{1} << 30;

template <class T>
device::DeviceSearch<T> on_device(const Search<T>& search, bool keep_gradients, std::size_t room = kRoom,
                                  std::size_t scratch_bytes = kRoom) {
    return {device::emulated_runtime(room, true),
            search.at.dimension,
            search.at.mean,
            search.at.std,
            search.at.low,
            search.at.high,
            search.at.seed,
            search.at.mirrored,
            keep_gradients,
            scratch_bytes};
}

// A vector on the (emulated) device, exactly as large as its content.
template <class T>
device::Buffer<T> uploaded(device::Runtime& runtime, const std::shared_ptr<device::Runtime>& owner,
                           const std::vector<T>& values) {
    device::Buffer<T> buffer(owner, values.size(), "a test's data");
    if (!values.empty()) runtime.upload(buffer.data(), values.data(), values.size() * sizeof(T), 0);
    return buffer;
}

template <class T>
std::vector<T> downloaded(device::Runtime& runtime, const T* data, std::size_t n) {
    std::vector<T> values(n);
    if (n > 0) runtime.download(values.data(), data, n * sizeof(T), 0);
    return values;
}

template <class T>
void test_device_sample() {
    for (const std::size_t d : {1u, 15u, 63u, 64u, 65u, 1023u, 1024u, 1025u, 2500u}) {
        for (const int kind : {0, 1, 2, 3}) {
            const Search<T> search(d, kind % 2 == 1, kind >= 2);
            device::DeviceSearch<T> on = on_device(search, true);
            const std::string where = std::string(type_name<T>()) + " d = " + std::to_string(d);
            for (const std::size_t first : {0u, 1u, 4u}) {
                for (const std::size_t count : {1u, 2u, 5u, 35u}) {
                    device::Buffer<T> x(on.runtime(), count * d, "x");
                    on.sample(search.at.generation, first, count, x.data(), 0);
                    CHECK(
                        same_bits(downloaded(*on.runtime(), x.data(), count * d), population(search.at, first, count)),
                        where);
                }
            }
            on.sample(search.at.generation, 3, 0, nullptr, 0);
        }
    }
}

// The mean may lie outside the box; row 0 of a centred generation does not.
template <class T>
void test_device_center() {
    for (const std::size_t d : {1u, 255u, 256u, 257u, 1023u, 1024u, 1025u, 2500u}) {
        for (const bool bounded : {false, true}) {
            Search<T> search(d, bounded);
            for (std::size_t k = 0; k < d; ++k) search.mean[k] += T(k % 3) - T(1);
            std::vector<T> expected = search.mean;
            for (std::size_t k = 0; bounded && k < d; ++k) {
                expected[k] = std::min(std::max(expected[k], search.low[k]), search.high[k]);
            }
            device::DeviceSearch<T> on = on_device(search, true);
            device::Buffer<T> out(on.runtime(), d, "the mean");
            on.center(out.data(), 0);
            CHECK(same_bits(downloaded(*on.runtime(), out.data(), d), expected), std::to_string(d));
        }
    }
}

// The step of SearchDistribution in pyasmg/_distribution.py: the mean stays within `reach` stds of the box, a std
// within its width. `input` has no bounds yet.
template <class T>
pyasmg::UpdateSummary step_within(pyasmg::UpdateInput<T> input, const Search<T>& search, T reach, std::vector<T>& mean,
                                  std::vector<T>& std) {
    const std::size_t d = search.at.dimension;
    if (search.low.empty()) {
        return pyasmg::update_distribution(input, search.at.mean, search.at.std, mean.data(), std.data());
    }
    std::vector<T> low(d), high(d);
    for (std::size_t k = 0; k < d; ++k) {
        low[k] = search.low[k] - reach * search.std[k];
        high[k] = search.high[k] + reach * search.std[k];
    }
    input.low = low.data();
    input.high = high.data();
    auto summary = pyasmg::update_distribution(input, search.at.mean, search.at.std, mean.data(), std.data());
    bool stopped = false, outside = false;
    for (std::size_t k = 0; k < d; ++k) {
        std[k] = std::min(std[k], search.high[k] - search.low[k]);
        stopped = stopped || mean[k] == low[k] || mean[k] == high[k];
        outside = outside || mean[k] < search.low[k] || mean[k] > search.high[k];
    }
    CHECK(d < 1000 || (stopped && outside == (reach > T(0))), "the test reaches the sides");
    summary.max_std = *std::max_element(std.begin(), std.end());
    summary.min_std = *std::min_element(std.begin(), std.end());
    return summary;
}

// One generation on both: estimate, then step.
template <class T>
void check_device_generation(std::size_t n, std::size_t d, std::size_t m, int kind, T reach, std::mt19937_64& random) {
    const double mean_step = reach > T(0) ? 40.0 : 8.0;
    const bool bounded = kind % 2 == 1, keep_gradients = kind % 3 != 0;
    const Search<T> search(d, bounded, kind >= 2);
    const std::string where = std::string(type_name<T>()) + " N = " + std::to_string(n) + ", d = " + std::to_string(d) +
                              ", m = " + std::to_string(m) + ", kind " + std::to_string(kind) + ", reach " +
                              std::to_string(reach);
    const std::vector<T> w = normal_vector<T>(n * m, random, 1.0 / static_cast<double>(n));
    std::vector<std::uint8_t> valid(n, 1);
    std::vector<T> x = population(search.at, 0, n);
    x[d / 2] += T(0.0625);
    if (n > 2) {
        valid[1] = 0;
        std::fill_n(x.begin() + static_cast<std::ptrdiff_t>(d), d, static_cast<T>(kNan));
    }
    const std::vector<double> coefficients = normal_vector<double>(m, random, 0.3);
    const std::size_t stride = d > 1000 ? 3 : 1, n_path = (d + stride - 1) / stride;
    const std::vector<double> path = normal_vector<double>(n_path, random, 0.1);
    for (const bool given : {false, true}) {
        for (const auto form : {pyasmg::StdForm::exponential, pyasmg::StdForm::inverse}) {
            Answer<T> answer = estimated(search.at, given ? &x : nullptr, valid, m, w);
            std::vector<double> new_path(n_path);
            const pyasmg::UpdateInput<T> input{d,
                                               m,
                                               answer.p.data(),
                                               answer.h.data(),
                                               coefficients.data(),
                                               mean_step,
                                               0.9,
                                               0.01,
                                               form,
                                               nullptr,
                                               nullptr,
                                               {stride, 0.05, path.data(), new_path.data()}};
            std::vector<T> mean(d), std(d);
            const auto expected = step_within(input, search, reach, mean, std);

            device::DeviceSearch<T> on =
                on_device(search, keep_gradients, kRoom, kind < 2 ? 1 : kRoom);  // 1: many slabs
            device::Runtime& runtime = *on.runtime();
            const auto x_there = uploaded(runtime, on.runtime(), x);
            const auto path_there = uploaded(runtime, on.runtime(), path);
            const device::Buffer<double> new_path_there(on.runtime(), n_path, "the path");
            const auto found = on.estimate(search.at.generation, given ? x_there.data() : nullptr, nullptr, n,
                                           valid.data(), m, w.data(), 0);
            CHECK(same_bits(found.gram, answer.gram), where);
            CHECK(same_bits(found.row_sums, answer.row_sums), where);
            const auto summary = on.step(coefficients, mean_step, 0.9, 0.01, reach, form, path_there.data(),
                                         new_path_there.data(), stride, 0.05, 0);
            CHECK(same_bits(downloaded(runtime, on.mean(), d), mean), where);
            CHECK(same_bits(downloaded(runtime, on.std(), d), std), where);
            CHECK(same_bits(downloaded(runtime, new_path_there.data(), n_path), new_path), where);
            CHECK(summary.max_std == expected.max_std && summary.min_std == expected.min_std &&
                      summary.finite == expected.finite && summary.effective == expected.effective,
                  where);
            CHECK(summary.path_norm == expected.path_norm && summary.step_norm == expected.step_norm, where);
            CHECK(refuses([&] { on.step(coefficients, 0.7, 0.9, 0.0, reach, form, nullptr, nullptr, 1, 0.0, 0); }),
                  "a step without an estimate");
        }
    }
}

template <class T>
void test_device_generation() {
    std::mt19937_64 random(17);
    const std::size_t shapes[][3] = {{1, 1, 1},    {2, 15, 2},   {3, 64, 3},   {4, 65, 4},   {5, 1024, 1},
                                     {9, 1025, 2}, {7, 2049, 5}, {6, 1100, 9}, {5, 700, 20}, {3, 66000, 2}};
    for (const auto& [n, d, m] : shapes) {
        for (const int kind : {0, 1, 2, 3}) {
            if (d < 10000 || kind < 3) check_device_generation<T>(n, d, m, kind, T(0), random);
            if (d < 10000 && kind % 2 == 1) check_device_generation<T>(n, d, m, kind, T(3), random);  // with bounds
        }
    }
    const Search<T> search(70);  // every row failed
    device::DeviceSearch<T> on = on_device(search, true);
    const std::vector<T> w(6, static_cast<T>(kNan));
    const auto none = on.estimate(3, nullptr, nullptr, 3, std::vector<std::uint8_t>(3, 0).data(), 2, w.data(), 0);
    CHECK(none.gram == std::vector<double>(4, 0.0) && none.row_sums == std::vector<double>(3, 0.0), "all rows failed");
}

// A row that lies too far out is pulled back along its line, as if the caller had moved it.
template <class T>
void test_device_pull() {
    for (const bool bounded : {false, true}) {
        const std::size_t n = 5, d = 1500;
        const Search<T> search(d, bounded);
        std::vector<T> x = population(search.at, 0, n), pulled = x;
        std::vector<T> pull(n, T(0));
        pull[2] = T(0.25);
        for (std::size_t k = 0; k < d; ++k) {
            T& value = pulled[2 * d + k];
            const T off = value - search.mean[k];
            const T less = off * pull[2];
            value = search.mean[k] + less;
        }
        const std::vector<T> w(n * 2, T(0.125));
        const std::vector<std::uint8_t> valid(n, 1);
        const Answer<T> answer = estimated(search.at, &pulled, valid, 2, w);
        device::DeviceSearch<T> on = on_device(search, true);
        const auto there = uploaded(*on.runtime(), on.runtime(), x);
        const auto found = on.estimate(3, there.data(), pull.data(), n, valid.data(), 2, w.data(), 0);
        CHECK(same_bits(found.gram, answer.gram) && same_bits(found.row_sums, answer.row_sums), "pulled back");
    }
}

template <class T>
void test_device_failures() {
    const std::size_t d = 3000;
    const Search<T> search(d);
    const std::vector<T> w(8, T(0.25));
    const std::vector<std::uint8_t> valid(4, 1);
    bool refused = false;
    try {
        on_device(search, true, d * sizeof(T) + 100);
    } catch (const std::bad_alloc& error) {
        const std::string text = error.what();
        refused = text.find("the stds") != std::string::npos && text.find("d = 3000") != std::string::npos;
    }
    CHECK(refused, "no room for the stds");
    refused = false;
    device::DeviceSearch<T> on = on_device(search, true, 3 * d * sizeof(T));
    try {
        on.estimate(3, nullptr, nullptr, 4, valid.data(), 2, w.data(), 0);
    } catch (const std::bad_alloc& error) {
        refused =
            std::string(error.what()).find("gradients of a search with d = 3000, m = 2, N = 4") != std::string::npos;
    }
    CHECK(refused, "no room for the gradients");
    CHECK(same_bits(downloaded(*on.runtime(), on.mean(), d), search.mean), "the mean stays");
    CHECK(refuses([&] {
              on.step({1.0, 1.0}, 1.0, 1.0, 0.0, T(0), pyasmg::StdForm::exponential, nullptr, nullptr, 1, 0.0, 0);
          }),
          "no step after it");
    for (const bool keep_gradients : {false, true}) {  // a step that is not finite is not taken
        device::DeviceSearch<T> far = on_device(search, keep_gradients);
        far.estimate(3, nullptr, nullptr, 4, valid.data(), 2, w.data(), 0);
        const auto summary =
            far.step({1e200, 1e200}, 1e200, 1.0, 0.0, T(0), pyasmg::StdForm::exponential, nullptr, nullptr, 1, 0.0, 0);
        CHECK(!summary.finite, "not finite");
        CHECK(same_bits(downloaded(*far.runtime(), far.mean(), d), search.mean), "the mean stays");
        CHECK(same_bits(downloaded(*far.runtime(), far.std(), d), search.std), "the stds stay");
    }
}

template <class T>
void test_device() {
    test_device_sample<T>();
    test_device_center<T>();
    test_device_generation<T>();
    test_device_pull<T>();
    test_device_failures<T>();
}

}  // namespace
