// Device-wide scan, sort and compaction (CUB), compiled once for the whole library.
#pragma once

#include <cstdint>

#include "common/device.h"

namespace ovoxel {

// out[i] = sum of in[0 .. i-1]; out has n + 1 entries and out[n] is the total. in and out may not overlap.
void exclusiveSum(Workspace& workspace, const int32_t* in, int64_t* out, int64_t n);
void exclusiveSum(Workspace& workspace, const uint8_t* in, int64_t* out, int64_t n);

// Stable radix sort by the bits [0, bits) of the keys. The sorted arrays are new workspace memory.
struct SortedKeys {
    uint64_t* keys;
    uint32_t* values;
};
SortedKeys sortPairs(Workspace& workspace, const uint64_t* keys, const uint32_t* values, int64_t n, int bits = 64);

// Indices i (ascending) with flags[i] != 0; returns how many (waits for the count). out has n entries.
int64_t selectFlagged(Workspace& workspace, const uint8_t* flags, int64_t* out, int64_t n);

}  // namespace ovoxel
