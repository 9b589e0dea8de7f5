// Sums over the lanes of a warp that add to the same place, so that one atomic add serves them all. For .cu files only.
// Based on: E. Westphal, "Voting and Shuffling to Optimize Atomic Operations", NVIDIA technical blog, 2015.
#pragma once

#include <cstdint>

#include "raster/pack.h"

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

    // Adds the sums over the group to target[0 .. N-1]; target must be aligned to 4 N bytes.
    template <int N>
    __device__ void add(float* target, Pack<N> value) const {
        unsigned int peers = above_, rank = rank_;
        while (__any_sync(active_, peers != 0)) {
            const int next = __ffs(peers), from = next ? next - 1 : static_cast<int>(threadIdx.x % 32);
            for (int i = 0; i < N; ++i) {
                const float other = __shfl_sync(active_, value.v[i], from);
                if (next) value.v[i] += other;
            }
            peers &= __ballot_sync(active_, !(rank & 1));
            rank >>= 1;
        }
        if (rank_ == 0) atomicAddPack(target, value);
    }

    __device__ void add(float* target, float value) const { add(target, Pack<1>{{value}}); }

private:
    template <int N>
    __device__ static void atomicAddPack(float* target, const Pack<N>& value) {
#if __CUDA_ARCH__ >= 900
        if constexpr (N == 4)
            atomicAdd(reinterpret_cast<float4*>(target), make_float4(value.v[0], value.v[1], value.v[2], value.v[3]));
        else if constexpr (N == 2)
            atomicAdd(reinterpret_cast<float2*>(target), make_float2(value.v[0], value.v[1]));
        else
#endif
            for (int i = 0; i < N; ++i) atomicAdd(target + i, value.v[i]);
    }

    unsigned int active_, rank_, above_;
};

}  // namespace ovoxel
