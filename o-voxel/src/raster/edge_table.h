// Keys of edges, and what a triangle sees across one.
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace ovoxel {

constexpr uint64_t kNoEdge = ~uint64_t{0};

OVOXEL_HD inline uint64_t edgeKey(int32_t a, int32_t b) {
    const auto low = static_cast<uint32_t>(a < b ? a : b), high = static_cast<uint32_t>(a < b ? b : a);
    return static_cast<uint64_t>(low) << 32 | high;
}

// Slots are a power of two, more than the 3 F edges there can be, so that a search always ends.
inline int64_t edgeSlots(int64_t numTriangles) {
    int64_t slots = 16;
    while (slots < 4 * numTriangles) slots *= 2;
    return slots;
}

// Finaliser of MurmurHash3 (A. Appleby).
OVOXEL_HD inline uint64_t edgeHash(uint64_t key) {
    key ^= key >> 33;
    key *= 0xff51afd7ed558ccdull;
    key ^= key >> 33;
    key *= 0xc4ceb9fe1a85ec53ull;
    return key ^ (key >> 33);
}

// A triangle that counts: no negative index and no repeated corner.
OVOXEL_HD inline bool hasEdges(const int32_t* row) {
    return row[0] >= 0 && row[1] >= 0 && row[2] >= 0 && row[0] != row[1] && row[1] != row[2] && row[2] != row[0];
}

// The other end of [low, high] as seen from a triangle whose own opposite vertex is `own`; -1 if there is none.
OVOXEL_HD inline int32_t acrossEdge(int32_t low, int32_t high, int32_t own) {
    return low == high ? -1 : own == low ? high : low;
}

}  // namespace ovoxel
