// Sums over the lanes of a warp that add to the same place, so that one atomic add serves them all. For .cu files only.
// Based on: E. Westphal, "Voting and Shuffling to Optimize Atomic Operations", NVIDIA technical blog, 2015.
#pragma once

#include <cstdint>

namespace ovoxel {

class WarpSum {
public:
    // `place` must be equal for lanes that add to the same address. Lanes that do not take part may have diverged; those
    // that do must make the same calls until the object ends.
    __device__ explicit WarpSum(unsigned long long place) : active_(__activemask()) {
        const unsigned int lane = threadIdx.x % 32;
        const unsigned int group = __match_any_sync(active_, place);
        const unsigned int below = (1u << lane) - 1;
        rank_ = __popc(group & below);
        above_ = group & ~below & ~(1u << lane);
    }

    // Adds the sum over the group to *target.
    __device__ void add(float* target, float value) const {
        unsigned int peers = above_, rank = rank_;
        while (__any_sync(active_, peers != 0)) {
            const int next = __ffs(peers);
            const float other = __shfl_sync(active_, value, next ? next - 1 : static_cast<int>(threadIdx.x % 32));
            if (next) value += other;
            peers &= __ballot_sync(active_, !(rank & 1));
            rank >>= 1;
        }
        if (rank_ == 0) atomicAdd(target, value);
    }

private:
    unsigned int active_, rank_, above_;
};

}  // namespace ovoxel
