// Work shared between threads that live for one call only: a pool that outlives the call would hang in a forked child.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

namespace pyasmg {

// Below this many samples a thread (about 50 us to start) costs more than it brings.
inline constexpr std::size_t kSamplesPerThread = std::size_t{1} << 17;

// Threads worth starting for `samples` samples.
inline int useful_threads(std::size_t samples, int n_threads) {
    const auto most = static_cast<int>(std::min<std::size_t>(samples / kSamplesPerThread + 1, 1024));
    return std::max(1, std::min(n_threads, most));
}

// Each thread takes so many pieces of the work, one after the other: a thread that is held up by others on the machine,
// or by the memory, leaves more of them to the rest.
inline constexpr std::size_t kPiecesPerThread = 16;

// Calls function(begin, end) on contiguous pieces of [0, count), in any order; the caller's thread takes part.
// What `function` computes must not depend on how the range is cut. A thread that cannot be started is no error: the
// others do its share.
template <class Function>
void parallel_for(std::size_t count, int n_threads, const Function& function) {
    const auto n_workers = std::min<std::size_t>(count, static_cast<std::size_t>(std::max(1, n_threads)));
    if (n_workers <= 1) {
        function(std::size_t{0}, count);
        return;
    }
    const std::size_t n_pieces = std::min(count, n_workers * kPiecesPerThread);
    std::atomic<std::size_t> next{0};
    std::vector<std::exception_ptr> errors(n_workers);
    const auto run = [&](std::size_t worker) {
        try {
            for (std::size_t piece; (piece = next.fetch_add(1, std::memory_order_relaxed)) < n_pieces;) {
                function(count * piece / n_pieces, count * (piece + 1) / n_pieces);
            }
        } catch (...) {
            errors[worker] = std::current_exception();
        }
    };
    std::vector<std::thread> threads;
    threads.reserve(n_workers - 1);
    for (std::size_t worker = 1; worker < n_workers; ++worker) {
        try {
            threads.emplace_back(run, worker);
        } catch (const std::system_error&) {
            break;
        }
    }
    run(0);
    for (auto& thread : threads) thread.join();
    for (const auto& error : errors) {
        if (error) std::rethrow_exception(error);
    }
}

}  // namespace pyasmg
