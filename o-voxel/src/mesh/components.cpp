#include "mesh/components.h"

#include <numeric>
#include <utility>

namespace ovoxel::mesh {

ParityComponents parityComponents(int64_t n, const int64_t* pairs, const uint8_t* differ, int64_t m) {
    std::vector<int64_t> parent(n);
    std::iota(parent.begin(), parent.end(), int64_t{0});
    std::vector<uint8_t> toParent(n, 0);
    std::vector<int64_t> path;
    // Root of v with full path compression; toParent[v] becomes the parity of v against the root.
    auto find = [&](int64_t v) {
        path.clear();
        while (parent[v] != v) {
            path.push_back(v);
            v = parent[v];
        }
        uint8_t parity = 0;
        for (auto it = path.rbegin(); it != path.rend(); ++it) {
            parity ^= toParent[*it];
            toParent[*it] = parity;
            parent[*it] = v;
        }
        return v;
    };
    ParityComponents out;
    out.conflicts.assign(m, 0);
    for (int64_t i = 0; i < m; ++i) {
        const int64_t a = pairs[2 * i], b = pairs[2 * i + 1];
        int64_t ra = find(a), rb = find(b);
        const uint8_t relation = toParent[a] ^ toParent[b] ^ (differ ? differ[i] : 0);
        if (ra == rb) {
            out.conflicts[i] = relation;
            continue;
        }
        if (ra > rb) std::swap(ra, rb);  // the smaller id stays the root
        parent[rb] = ra;
        toParent[rb] = relation;
    }
    out.labels.resize(n);
    out.parity.resize(n);
    for (int64_t v = 0; v < n; ++v) {
        out.labels[v] = find(v);
        out.parity[v] = toParent[v];
    }
    return out;
}

std::vector<int64_t> connectedComponents(int64_t n, const int64_t* pairs, int64_t m) {
    return parityComponents(n, pairs, nullptr, m).labels;
}

}  // namespace ovoxel::mesh
