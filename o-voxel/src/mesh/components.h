// Connected components and two-sided (parity) components of a graph, by union-find.
#pragma once

#include <cstdint>
#include <vector>

#include "common/atomics.h"
#include "common/device.h"
#include "common/host_device.h"

namespace ovoxel::mesh {

// A forest over nodes that many threads join at once. The root of a tree is its smallest node, so the result does not
// depend on the order of the joins. After J. Jaiganesh and M. Burtscher, A High-Performance Connected Components
// Implementation for GPUs, 2018.
struct Forest {
    uint32_t* parent;  // [n], parent[v] = v at first; always parent[v] <= v

    OVOXEL_HD uint32_t root(uint32_t v) const {
        uint32_t up = atomicLoad(parent + v);
        while (up != v) {  // each visited node is hung one step higher
            const uint32_t next = atomicLoad(parent + up);
            if (next == up) return up;
            atomicStore(parent + v, next);
            v = next;
            up = atomicLoad(parent + v);
        }
        return v;
    }
    OVOXEL_HD void join(uint32_t a, uint32_t b) const {
        a = root(a), b = root(b);
        while (a != b) {
            if (a < b) {
                const uint32_t t = a;
                a = b, b = t;
            }
            const uint32_t held = atomicCompareSwap(parent + a, a, b);  // the larger root goes under the smaller one
            if (held == a) return;
            a = root(held), b = root(b);
        }
    }
};

struct ForestInitBody {
    Forest forest;
    OVOXEL_HD void operator()(int64_t i) const { forest.parent[i] = static_cast<uint32_t>(i); }
};

struct ForestJoinBody {
    Forest forest;
    const int64_t* pairs;  // [2 * m], in [0, n)
    OVOXEL_HD void operator()(int64_t i) const {
        forest.join(static_cast<uint32_t>(pairs[2 * i]), static_cast<uint32_t>(pairs[2 * i + 1]));
    }
};

struct ForestLabelBody {
    Forest forest;
    int64_t* labels;
    OVOXEL_HD void operator()(int64_t i) const { labels[i] = forest.root(static_cast<uint32_t>(i)); }
};

// labels [n]: the smallest member of each node's component. pairs [2 * m] with ids in [0, n), n < 2^32.
void connectedComponents(Workspace& workspace, int64_t n, const int64_t* pairs, int64_t m, int64_t* labels);
void connectedComponentsOnDevice(Workspace& workspace, int64_t n, const int64_t* pairs, int64_t m, int64_t* labels);

struct ParityComponents {
    std::vector<int64_t> labels;     // [n] smallest member of the component
    std::vector<uint8_t> parity;     // [n] 1 if the node differs from that member
    std::vector<uint8_t> conflicts;  // [m] 1 if the pair contradicts pairs before it
};

// differ [m]: 1 if the two nodes of a pair must have different parity. Pairs are honoured in the given order; one that
// contradicts earlier pairs is reported and ignored.
ParityComponents parityComponents(int64_t n, const int64_t* pairs, const uint8_t* differ, int64_t m);

}  // namespace ovoxel::mesh
