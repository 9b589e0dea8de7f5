#include "raster/antialias.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/parallel.h"
#include "raster/edge_table.h"

namespace ovoxel {
namespace {

constexpr int64_t kGrain = 1 << 13;

struct HalfEdge {
    uint64_t key;
    int32_t own;   // the vertex opposite the edge
    int64_t slot;  // in the table of neighbours
};

}  // namespace

void edgeNeighboursOnHost(const int32_t* tri, int64_t numTriangles, int32_t* out) {
    // Half-edges sorted into buckets by their smaller vertex, which keeps neighbours in memory neighbours in the mesh.
    int64_t numBuckets = 1;
    while (numBuckets < numTriangles) numBuckets *= 2;
    const auto bucketOf = [&](uint64_t key) { return static_cast<int64_t>(key >> 32) & (numBuckets - 1); };
    const auto edgeOf = [](const int32_t* row, int k) { return edgeKey(row[(k + 1) % 3], row[(k + 2) % 3]); };
    std::vector<int64_t> cursor(numBuckets + 1, 0);
    for (int64_t f = 0; f < numTriangles; ++f)
        for (int k = 0; k < 3 && hasEdges(tri + 3 * f); ++k) ++cursor[bucketOf(edgeOf(tri + 3 * f, k))];
    std::vector<int64_t> start(numBuckets + 1, 0);
    for (int64_t i = 0; i < numBuckets; ++i) {
        start[i + 1] = start[i] + cursor[i];
        cursor[i] = start[i];
    }
    std::vector<HalfEdge> edges(start[numBuckets]);
    for (int64_t f = 0; f < numTriangles; ++f) {
        const int32_t* row = tri + 3 * f;
        for (int k = 0; k < 3; ++k) {
            out[3 * f + k] = -1;
            if (hasEdges(row)) edges[cursor[bucketOf(edgeOf(row, k))]++] = {edgeOf(row, k), row[k], 3 * f + k};
        }
    }
    parallelFor(numBuckets, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const auto first = edges.begin() + start[i], last = edges.begin() + start[i + 1];
            std::sort(first, last, [](const HalfEdge& a, const HalfEdge& b) { return a.key < b.key; });
            for (auto edge = first; edge != last;) {
                int32_t low = edge->own, high = edge->own;
                auto next = edge;
                for (; next != last && next->key == edge->key; ++next) {
                    low = std::min(low, next->own);
                    high = std::max(high, next->own);
                }
                for (; edge != next; ++edge) out[edge->slot] = acrossEdge(low, high, edge->own);
            }
        }
    });
}

void antialiasOnHost(const AntialiasCall& call, float* alphas, float* out) {
    parallelFor(call.numPixels(), kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t pixel = begin; pixel < end; ++pixel) call.findAlphas(pixel, alphas);
    });
    parallelFor(call.numPixels(), kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t pixel = begin; pixel < end; ++pixel) call.evaluate(pixel, alphas, out);
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
