// Drives every public function of the core with ordinary and with hostile input. Its own right answers are
// plain loops; built with the sanitizers it also shows that no path reads or writes outside its arrays. Every
// array here is exactly as large as promised, so that an access past its end is seen.
#include <cstdio>
#include <thread>
#include <vector>

#include "core/device_test.hpp"
#include "core/estimator_test.hpp"
#include "core/loss_weighting_test.hpp"
#include "core/objectives_test.hpp"
#include "core/row_combination_test.hpp"
#include "core/row_products_test.hpp"
#include "core/running_average_test.hpp"
#include "core/sampling_test.hpp"
#include "core/solvers_test.hpp"
#include "core/update_test.hpp"

namespace {

// Several callers at once, as threads without the GIL are.
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
    test_row_products<T>();
    test_row_combination<T>();
    test_running_average<T>();
    test_running_average_of_extremes<T>();
    test_device<T>();
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
    test_nonnegative_qp();
    test_unit_gram();
    test_conflict_averse_guess();
    test_gradient_surgery();
    test_surgery_weights();
    test_weights_at_once();
    test_adam_step();
    test_softmax();
    test_softmax_slopes();
    test_gap_slopes();
    test_gradnorm_slopes();
    test_simplex_projection();
    test_group_means();
    test_concurrent_callers();
    std::printf("%d checks, %d failures, levels up to %s\n", n_checks, n_failures,
                pyasmg::simd_levels().back().c_str());
    return n_failures == 0 ? 0 : 1;
}
