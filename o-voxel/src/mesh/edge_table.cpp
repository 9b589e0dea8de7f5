#include "mesh/edge_table.h"

#include <algorithm>

#include "common/atomics.h"
#include "common/parallel.h"

namespace ovoxel::mesh {
namespace {

constexpr int64_t kGrain = 16384;

}  // namespace

EdgeTable buildEdges(const int64_t* faces, int64_t n) {
    const int64_t numSides = 3 * n;
    auto ends = [&](int64_t side, int64_t& low, int64_t& high) {
        const int64_t a = faces[side], b = faces[side % 3 == 2 ? side - 2 : side + 1];
        low = std::min(a, b), high = std::max(a, b);
    };
    int64_t numVertices = 0;
    for (int64_t i = 0; i < numSides; ++i) numVertices = std::max(numVertices, faces[i] + 1);

    // Sides by their smaller vertex, then each of these short rows is sorted by (larger vertex, side).
    std::vector<uint32_t> cursor(numVertices, 0);
    parallelFor(n, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t s = 3 * begin; s < 3 * end; ++s) {
            int64_t low, high;
            ends(s, low, high);
            atomicFetchAdd(&cursor[low], 1);
        }
    });
    std::vector<int64_t> rows(numVertices + 1, 0);
    for (int64_t v = 0; v < numVertices; ++v) rows[v + 1] = rows[v] + cursor[v];
    std::fill(cursor.begin(), cursor.end(), 0u);
    std::unique_ptr<uint64_t[]> keys(new uint64_t[numSides > 0 ? numSides : 1]);
    parallelFor(n, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t s = 3 * begin; s < 3 * end; ++s) {
            int64_t low, high;
            ends(s, low, high);
            keys[rows[low] + atomicFetchAdd(&cursor[low], 1)] = static_cast<uint64_t>(high) << 32 | static_cast<uint64_t>(s);
        }
    });
    parallelFor(numVertices, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t v = begin; v < end; ++v) {
            std::sort(keys.get() + rows[v], keys.get() + rows[v + 1]);
            uint32_t edges = 0;
            for (int64_t i = rows[v]; i < rows[v + 1]; ++i) edges += i == rows[v] || keys[i] >> 32 != keys[i - 1] >> 32;
            cursor[v] = edges;
        }
    });
    std::vector<int64_t> firstEdge(numVertices + 1, 0);
    for (int64_t v = 0; v < numVertices; ++v) firstEdge[v + 1] = firstEdge[v] + cursor[v];

    const int64_t numEdges = firstEdge[numVertices];
    EdgeTable out;
    out.edges.resize(2 * numEdges);
    out.counts.resize(numEdges);
    out.offsets.resize(numEdges + 1);
    out.offsets[numEdges] = numSides;
    out.sides.reset(new int64_t[numSides > 0 ? numSides : 1]);
    parallelFor(numVertices, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t v = begin; v < end; ++v) {
            int64_t edge = firstEdge[v] - 1;
            for (int64_t i = rows[v]; i < rows[v + 1]; ++i) {
                if (i == rows[v] || keys[i] >> 32 != keys[i - 1] >> 32) {
                    ++edge;
                    out.edges[2 * edge] = v;
                    out.edges[2 * edge + 1] = static_cast<int64_t>(keys[i] >> 32);
                    out.offsets[edge] = i;
                    out.counts[edge] = 0;
                }
                ++out.counts[edge];
                out.sides[i] = static_cast<int64_t>(keys[i] & 0xffffffffu);
            }
        }
    });
    return out;
}

}  // namespace ovoxel::mesh
