// Prefix sums over tiles inside one kernel (decoupled look-back), so that counting and writing need one pass.
// D. Merrill and M. Garland, "Single-pass Parallel Prefix Scan with Decoupled Look-back" (2016). For .cu files only.
#pragma once

#include <cstdint>

namespace ovoxel {

// State of a tile, zero at first: bit 63 "sum of all tiles up to here", bit 62 "sum of this tile", below it the sum.
constexpr uint64_t kTileInclusive = uint64_t{1} << 63, kTileOwn = uint64_t{1} << 62;
constexpr uint64_t kTileValue = kTileOwn - 1;

// Sum of the counts of all tiles before `tile`. One warp calls it, all lanes with the same arguments. Tiles must be
// taken in order (from a counter), so that those before are running or done.
__device__ inline uint64_t tilePrefix(uint64_t* states, int64_t tile, uint64_t count) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    volatile uint64_t* shared = states;
    if (tile == 0) {
        if (lane == 0) shared[0] = kTileInclusive | count;
        return 0;
    }
    if (lane == 0) shared[tile] = kTileOwn | count;
    uint64_t prefix = 0;
    for (int64_t first = tile - 1;; first -= 32) {
        const int64_t other = first - lane;
        uint64_t state = kTileInclusive;
        do {
            if (other >= 0) state = shared[other];
        } while (__any_sync(0xffffffffu, state <= kTileValue));
        const unsigned complete = __ballot_sync(0xffffffffu, (state & kTileInclusive) != 0);
        const int last = complete ? __ffs(static_cast<int>(complete)) - 1 : 31;
        uint64_t value = lane <= last ? state & kTileValue : 0;
        for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
        prefix += value;
        if (complete) break;
    }
    if (lane == 0) shared[tile] = kTileInclusive | (prefix + count);
    return prefix;
}

}  // namespace ovoxel
