// Boundary edges of a triangle mesh: edges that exactly one face uses.
#pragma once

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "convert/bricks.h"

namespace ovoxel {

// Smallest vertex index with exactly the same position, for each vertex (-0 equals +0).
inline std::vector<int32_t> weldByPosition(const MeshView& mesh) {
    uint64_t capacity = 16;
    while (capacity < 2 * static_cast<uint64_t>(mesh.numVertices)) capacity *= 2;
    std::vector<int32_t> table(capacity, -1), weld(static_cast<size_t>(mesh.numVertices));
    for (int64_t v = 0; v < mesh.numVertices; ++v) {
        const float* p = mesh.vertices + 3 * v;
        uint64_t hash = 0;
        for (int a = 0; a < 3; ++a) {
            const float value = p[a] + 0.0f;
            uint32_t bits;
            std::memcpy(&bits, &value, 4);
            hash = (hash ^ bits) * 0x9E3779B97F4A7C15ull;
            hash ^= hash >> 29;
        }
        uint64_t slot = hash & (capacity - 1);
        for (;; slot = (slot + 1) & (capacity - 1)) {
            const int32_t other = table[slot];
            if (other < 0) {
                table[slot] = static_cast<int32_t>(v);
                weld[v] = static_cast<int32_t>(v);
                break;
            }
            const float* q = mesh.vertices + 3 * int64_t{other};
            if (p[0] == q[0] && p[1] == q[1] && p[2] == q[2]) {
                weld[v] = other;
                break;
            }
        }
    }
    return weld;
}

struct Edge {
    int32_t a, b;  // a < b
};

// Boundary edges in ascending (a, b). With `weld`, vertices at one position are one vertex, faces that collapse are
// ignored, and faces on the same three positions count once; without, edges are compared by index only.
inline std::vector<Edge> boundaryEdges(const MeshView& mesh, bool weld) {
    std::vector<int32_t> ids;
    if (weld) {
        ids = weldByPosition(mesh);
    } else {
        ids.resize(static_cast<size_t>(mesh.numVertices));
        std::iota(ids.begin(), ids.end(), 0);
    }
    // Half-edges bucketed by their smaller vertex; each entry also carries the third corner to recognise equal faces.
    struct Half {
        int32_t other, third;
    };
    auto corners = [&](int64_t f, int32_t c[3]) {
        for (int i = 0; i < 3; ++i) c[i] = ids[mesh.faces[3 * f + i]];
        return !weld || (c[0] != c[1] && c[1] != c[2] && c[2] != c[0]);
    };
    std::vector<int64_t> offsets(static_cast<size_t>(mesh.numVertices) + 1, 0);
    int32_t c[3];
    for (int64_t f = 0; f < mesh.numFaces; ++f) {
        if (!corners(f, c)) continue;
        for (int i = 0; i < 3; ++i) ++offsets[std::min(c[i], c[(i + 1) % 3]) + 1];
    }
    for (int64_t v = 0; v < mesh.numVertices; ++v) offsets[v + 1] += offsets[v];
    std::vector<Half> halves(static_cast<size_t>(offsets.back()));
    std::vector<int64_t> cursor(offsets.begin(), offsets.end() - 1);
    for (int64_t f = 0; f < mesh.numFaces; ++f) {
        if (!corners(f, c)) continue;
        for (int i = 0; i < 3; ++i) {
            const int32_t p = c[i], q = c[(i + 1) % 3];
            halves[cursor[std::min(p, q)]++] = {std::max(p, q), c[(i + 2) % 3]};
        }
    }
    return gatherInOrder<Edge>(mesh.numVertices, 4096, [&](int64_t begin, int64_t end, std::vector<Edge>& out) {
        for (int64_t v = begin; v < end; ++v) {
            const auto first = halves.begin() + offsets[v], last = halves.begin() + offsets[v + 1];
            std::sort(first, last, [](const Half& l, const Half& r) {
                return l.other != r.other ? l.other < r.other : l.third < r.third;
            });
            for (auto h = first; h != last;) {
                auto run = h;
                int64_t uses = 0;
                for (; run != last && run->other == h->other; ++run)
                    uses += !weld || run == h || run->third != (run - 1)->third;
                if (uses == 1) out.push_back({static_cast<int32_t>(v), h->other});
                h = run;
            }
        }
    });
}

}  // namespace ovoxel
