#include "mesh/equal_rows.h"

#include <algorithm>
#include <vector>

#include "common/atomics.h"
#include "common/parallel.h"

namespace ovoxel::mesh {
namespace {

constexpr int64_t kGrain = 16384;
constexpr uint32_t kEmpty = 0xffffffffu;

}  // namespace

void firstEqualRows(const int32_t* words, int64_t n, int64_t width, int64_t* first) {
    // An open-addressing table of rows; of equal rows the smallest stays, whichever thread comes first.
    uint64_t capacity = 16;
    while (capacity < 2 * static_cast<uint64_t>(n)) capacity *= 2;
    std::vector<uint32_t> slots(capacity, kEmpty);
    auto home = [&](int64_t row) {
        uint64_t h = 0x9e3779b97f4a7c15ull;
        for (int64_t k = 0; k < width; ++k) {
            h = (h ^ static_cast<uint32_t>(words[row * width + k])) * 0xff51afd7ed558ccdull;  // as in MurmurHash3
            h ^= h >> 32;
        }
        return h & (capacity - 1);
    };
    auto equal = [&](int64_t a, int64_t b) {
        return std::equal(words + a * width, words + (a + 1) * width, words + b * width);
    };
    parallelFor(n, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            const uint32_t entry = static_cast<uint32_t>(row);
            for (uint64_t at = home(row);; at = (at + 1) & (capacity - 1)) {
                uint32_t held = atomicLoad(&slots[at]);
                if (held == kEmpty) held = atomicCompareSwap(&slots[at], kEmpty, entry);
                if (held == kEmpty) break;
                if (!equal(held, row)) continue;
                while (entry < held) {
                    const uint32_t before = atomicCompareSwap(&slots[at], held, entry);
                    if (before == held) break;
                    held = before;
                }
                break;
            }
        }
    });
    parallelFor(n, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            uint64_t at = home(row);
            while (!equal(slots[at], row)) at = (at + 1) & (capacity - 1);
            first[row] = slots[at];
        }
    });
}

}  // namespace ovoxel::mesh
