#include "mesh/components.h"

#include <numeric>
#include <utility>

#include "common/parallel.h"

namespace ovoxel::mesh {
namespace {

constexpr int64_t kGrain = 32768;

template <class Body>
void forEach(int64_t n, const Body& body) {
    parallelFor(n, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) body(i);
    });
}

}  // namespace

void connectedComponents(Workspace& workspace, int64_t n, const int64_t* pairs, int64_t m, int64_t* labels) {
    const Forest forest{workspace.allocate<uint32_t>(n)};
    forEach(n, ForestInitBody{forest});
    forEach(m, ForestJoinBody{forest, pairs});
    forEach(n, ForestLabelBody{forest, labels});
    workspace.release(forest.parent);
}

ParityComponents parityComponents(int64_t n, const int64_t* pairs, const uint8_t* differ, int64_t m) {
    std::vector<uint32_t> parent(n);  // the parity against the parent in the lowest bit
    for (int64_t v = 0; v < n; ++v) parent[v] = static_cast<uint32_t>(2 * v);
    // Root of v with its parity; every other node on the way is hung to its grandparent.
    auto find = [&](uint32_t v) {
        uint32_t parity = 0;
        for (;;) {
            const uint32_t up = parent[v], next = parent[up >> 1];
            if (up >> 1 == v) return v << 1 | parity;
            const uint32_t grand = next ^ (up & 1);
            parent[v] = grand;
            parity ^= grand & 1;
            v = grand >> 1;
        }
    };
    ParityComponents out;
    out.conflicts.assign(m, 0);
    for (int64_t i = 0; i < m; ++i) {
        const uint32_t a = find(static_cast<uint32_t>(pairs[2 * i])), b = find(static_cast<uint32_t>(pairs[2 * i + 1]));
        const uint32_t relation = (a ^ b ^ differ[i]) & 1;
        uint32_t ra = a >> 1, rb = b >> 1;
        if (ra == rb) {
            out.conflicts[i] = static_cast<uint8_t>(relation);
            continue;
        }
        if (ra > rb) std::swap(ra, rb);  // the smaller id stays the root
        parent[rb] = ra << 1 | relation;
    }
    out.labels.resize(n);
    out.parity.resize(n);
    for (int64_t v = 0; v < n; ++v) {
        const uint32_t root = find(static_cast<uint32_t>(v));
        out.labels[v] = root >> 1;
        out.parity[v] = root & 1;
    }
    return out;
}

}  // namespace ovoxel::mesh
