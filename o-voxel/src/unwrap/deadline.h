// How much time is left, and what that means for the means to be used.
#pragma once

#include <chrono>

namespace ovoxel::unwrap {

// Full effort until the budget is spent; then cheap means; from one and a half times the budget only what is left to do
// to have a result at all.
class Deadline {
  public:
    enum class Effort { kFull, kCheap, kNone };

    explicit Deadline(double seconds) : start_(Clock::now()), seconds_(seconds) {}

    Effort effort() const {
        const double spent = std::chrono::duration<double>(Clock::now() - start_).count();
        return spent < seconds_ ? Effort::kFull : (spent < 1.5 * seconds_ ? Effort::kCheap : Effort::kNone);
    }
    bool passed() const { return effort() != Effort::kFull; }

  private:
    using Clock = std::chrono::steady_clock;
    Clock::time_point start_;
    double seconds_;
};

}  // namespace ovoxel::unwrap
