// Work shared between threads that live for one call only: a pool that outlives the call would hang in a forked child.
#pragma once

#include <algorithm>
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

// Calls function(begin, end) on contiguous shares of [0, count); the caller's thread takes the last share.
// A thread that cannot be started is no error: its share runs here.
template <class Function>
void parallel_for(std::size_t count, int n_threads, const Function& function) {
    const auto shares = std::min<std::size_t>(count, static_cast<std::size_t>(std::max(1, n_threads)));
    if (shares <= 1) {
        function(std::size_t{0}, count);
        return;
    }
    std::vector<std::thread> threads;
    std::vector<std::exception_ptr> errors(shares);
    threads.reserve(shares - 1);
    const auto run = [&](std::size_t share) {
        try {
            function(count * share / shares, count * (share + 1) / shares);
        } catch (...) {
            errors[share] = std::current_exception();
        }
    };
    std::vector<std::size_t> here;
    for (std::size_t share = 0; share + 1 < shares; ++share) {
        try {
            threads.emplace_back(run, share);
        } catch (const std::system_error&) {
            here.push_back(share);
        }
    }
    run(shares - 1);
    for (const std::size_t share : here) run(share);
    for (auto& thread : threads) thread.join();
    for (const auto& error : errors) {
        if (error) std::rethrow_exception(error);
    }
}

}  // namespace pyasmg
