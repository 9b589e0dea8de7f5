// Stable radix sort of (key, value) pairs on CPU threads; the result does not depend on the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/parallel.h"

namespace ovoxel {

struct KeyValue {
    uint64_t key;
    uint32_t value;
};

// Sorts by the keys, whose bits from `bits` on must be zero.
inline void radixSort(std::vector<KeyValue>& items, int bits) {
    constexpr int kDigit = 8, kBuckets = 1 << kDigit;
    const int64_t n = static_cast<int64_t>(items.size()), block = std::max<int64_t>(65536, n / 256 + 1);
    const int64_t blocks = (n + block - 1) / block;
    std::vector<KeyValue> other(items.size());
    std::vector<int64_t> starts(static_cast<size_t>(blocks) * kBuckets);
    for (int shift = 0; shift < bits; shift += kDigit) {
        auto digit = [&](const KeyValue& item) { return item.key >> shift & (kBuckets - 1); };
        std::fill(starts.begin(), starts.end(), 0);
        parallelFor(blocks, 1, [&](int64_t begin, int64_t end) {
            for (int64_t b = begin; b < end; ++b)
                for (int64_t i = b * block; i < std::min(n, (b + 1) * block); ++i)
                    ++starts[b * kBuckets + digit(items[i])];
        });
        int64_t sum = 0;
        for (int bucket = 0; bucket < kBuckets; ++bucket)
            for (int64_t b = 0; b < blocks; ++b) {
                const int64_t count = starts[b * kBuckets + bucket];
                starts[b * kBuckets + bucket] = sum;
                sum += count;
            }
        parallelFor(blocks, 1, [&](int64_t begin, int64_t end) {
            for (int64_t b = begin; b < end; ++b)
                for (int64_t i = b * block; i < std::min(n, (b + 1) * block); ++i)
                    other[starts[b * kBuckets + digit(items[i])]++] = items[i];
        });
        items.swap(other);
    }
}

// Number of bits of values below `count`.
inline int bitsFor(uint64_t count) {
    int bits = 0;
    while (bits < 64 && (uint64_t{1} << bits) < count) ++bits;
    return bits;
}

}  // namespace ovoxel
