#include "raster/antialias.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "common/parallel.h"
#include "raster/edge_table.h"

namespace ovoxel {
namespace {

constexpr int64_t kGrain = 1 << 13;

struct EdgeEntry {
    uint64_t key = kNoEdge;
    int32_t low = std::numeric_limits<int32_t>::max(), high = -1;
};

EdgeEntry& findEdge(std::vector<EdgeEntry>& table, uint64_t key) {
    const uint64_t mask = table.size() - 1;
    uint64_t slot = edgeHash(key) & mask;
    while (table[slot].key != key && table[slot].key != kNoEdge) slot = (slot + 1) & mask;
    return table[slot];
}

}  // namespace

void edgeNeighboursOnHost(const int32_t* tri, int64_t numTriangles, int32_t* out) {
    std::vector<EdgeEntry> table(edgeSlots(numTriangles));
    const auto edgeOf = [](const int32_t* row, int k) { return edgeKey(row[(k + 1) % 3], row[(k + 2) % 3]); };
    for (const int32_t* row = tri; row != tri + 3 * numTriangles; row += 3)
        for (int k = 0; k < 3 && hasEdges(row); ++k) {
            EdgeEntry& entry = findEdge(table, edgeOf(row, k));
            entry = {edgeOf(row, k), std::min(entry.low, row[k]), std::max(entry.high, row[k])};
        }
    parallelFor(numTriangles, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t f = begin; f < end; ++f)
            for (int k = 0; k < 3; ++k) {
                const int32_t* row = tri + 3 * f;
                out[3 * f + k] = -1;
                if (!hasEdges(row)) continue;
                const EdgeEntry& entry = findEdge(table, edgeOf(row, k));
                out[3 * f + k] = acrossEdge(entry.low, entry.high, row[k]);
            }
    });
}

void antialiasOnHost(const AntialiasCall& call, float* out) {
    parallelFor(call.numPixels(), kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t pixel = begin; pixel < end; ++pixel) call.evaluate(pixel, out);
    });
}

void antialiasGradOnHost(const AntialiasGrad& grad) {
    const int64_t pixels = grad.call.numPixels();
    if (grad.gradColor)
        parallelFor(pixels, kGrain, [&](int64_t begin, int64_t end) {
            for (int64_t pixel = begin; pixel < end; ++pixel) grad.colorGrad(pixel);
        });
    if (!grad.gradPos) return;
    // Found in parallel, added in the order of the pixels.
    const int64_t numChunks = (pixels + kGrain - 1) / kGrain;
    std::vector<std::vector<std::pair<int64_t, float>>> found(numChunks);
    parallelFor(numChunks, 1, [&](int64_t begin, int64_t end) {
        for (int64_t chunk = begin; chunk < end; ++chunk)
            for (int64_t pixel = chunk * kGrain; pixel < std::min(pixels, (chunk + 1) * kGrain); ++pixel)
                grad.posGrad(pixel, [&](int64_t at, float value) { found[chunk].emplace_back(at, value); });
    });
    for (const auto& chunk : found)
        for (const auto& [at, value] : chunk) grad.gradPos[at] += value;
}

}  // namespace ovoxel
