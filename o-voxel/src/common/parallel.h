// A parallel for over [0, n) on CPU threads; the only place that starts threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace ovoxel {

// Number of worker threads: OVOXEL_NUM_THREADS if set to a positive number, else all hardware threads.
inline int numThreads() {
    if (const char* value = std::getenv("OVOXEL_NUM_THREADS")) {
        const int n = std::atoi(value);
        if (n > 0) return n;
    }
    return std::max(1u, std::thread::hardware_concurrency());
}

// Calls body(begin, end) on disjoint chunks that cover [0, n). Chunks are handed out dynamically, so the body must
// write only to places owned by its own indices for results to be deterministic. The first exception is rethrown.
template <class Body>
void parallelFor(int64_t n, int64_t grain, Body&& body) {
    if (n <= 0) return;
    grain = std::max<int64_t>(1, grain);
    const int threads = static_cast<int>(std::min<int64_t>(numThreads(), (n + grain - 1) / grain));
    if (threads <= 1) {
        body(int64_t{0}, n);
        return;
    }
    std::atomic<int64_t> next{0};
    std::exception_ptr error;
    std::mutex errorMutex;
    auto work = [&] {
        try {
            for (;;) {
                const int64_t begin = next.fetch_add(grain);
                if (begin >= n) return;
                body(begin, std::min(n, begin + grain));
            }
        } catch (...) {
            const std::lock_guard<std::mutex> lock(errorMutex);
            if (!error) error = std::current_exception();
            next.store(n);
        }
    };
    std::vector<std::thread> pool;
    pool.reserve(threads - 1);
    for (int i = 1; i < threads; ++i) pool.emplace_back(work);
    work();
    for (auto& t : pool) t.join();
    if (error) std::rethrow_exception(error);
}

}  // namespace ovoxel
