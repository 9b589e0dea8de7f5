// Connected components and two-coloured (parity) components of a graph, by union-find on many threads at once.
#pragma once

#include <cstdint>

#include "common/atomics.h"
#include "common/device.h"
#include "common/host_device.h"

namespace ovoxel::mesh {

constexpr uint32_t kNoPair = 0xffffffffu;

// A forest over fewer than 2^31 nodes; every node has a colour against its parent's. The root of a tree is its smallest
// node, so the trees do not depend on the order of the joins; nor do the colours, if no join contradicts others. After
// J. Jaiganesh and M. Burtscher, A High-Performance Connected Components Implementation for GPUs, 2018.
struct Forest {
    uint32_t* parent;  // [n] 2 * parent + colour; 2 * v at first

    // 2 * root + colour of v against it.
    OVOXEL_HD uint32_t find(uint32_t v) const {
        uint32_t colour = 0;
        for (;;) {  // each visited node is hung one step higher
            const uint32_t word = atomicLoad(parent + v);
            if (word >> 1 == v) return v << 1 | colour;
            const uint32_t next = atomicLoad(parent + (word >> 1));
            if (next >> 1 == word >> 1) return word ^ colour;
            const uint32_t grand = next ^ (word & 1);
            atomicStore(parent + v, grand);
            colour ^= grand & 1;
            v = grand >> 1;
        }
    }
    OVOXEL_HD uint32_t look(uint32_t v) const {  // the same, without changes
        for (uint32_t colour = 0;;) {
            const uint32_t word = atomicLoad(parent + v);
            if (word >> 1 == v) return v << 1 | colour;
            colour ^= word & 1;
            v = word >> 1;
        }
    }
    OVOXEL_HD void join(uint32_t a, uint32_t b, uint32_t differ) const {
        for (;;) {
            uint32_t one = find(a), two = find(b);
            if (one >> 1 == two >> 1) return;
            if (one < two) {
                const uint32_t t = one;
                one = two, two = t;
            }
            // The larger root goes under the smaller one.
            const uint32_t root = one & ~1u, under = (two & ~1u) | ((one ^ two ^ differ) & 1);
            if (atomicCompareSwap(parent + (root >> 1), root, under) == root) return;
        }
    }
};

struct Graph {
    const int64_t* pairs;   // [2 * m] in [0, n)
    const uint8_t* differ;  // [m] 1: the two nodes of a pair want different colours; null: none does
    OVOXEL_HD uint32_t node(int64_t i, int end) const { return static_cast<uint32_t>(pairs[2 * i + end]); }
    OVOXEL_HD uint32_t flag(int64_t i) const { return differ ? differ[i] : 0u; }
};

struct ForestStartBody {
    Forest forest;
    OVOXEL_HD void operator()(int64_t v) const { forest.parent[v] = static_cast<uint32_t>(2 * v); }
};
struct ForestJoinBody {  // every pair
    Forest forest;
    Graph graph;
    OVOXEL_HD void operator()(int64_t i) const { forest.join(graph.node(i, 0), graph.node(i, 1), graph.flag(i)); }
};
struct ForestFlattenBody {  // hangs every node to its root; writes no other node, which may be hung already
    Forest forest;
    OVOXEL_HD void operator()(int64_t v) const {
        atomicStore(forest.parent + v, forest.look(static_cast<uint32_t>(v)));
    }
};
struct ForestClearBody {
    uint32_t* best;
    OVOXEL_HD void operator()(int64_t v) const { best[v] = kNoPair; }
};
struct ForestPickBody {  // the earliest pair that leads out of each tree; the forest is flat
    Forest forest;
    Graph graph;
    uint32_t* best;   // [n] by root
    uint32_t* found;  // 1 if there is any
    OVOXEL_HD void operator()(int64_t i) const {
        const uint32_t one = forest.parent[graph.node(i, 0)] >> 1, two = forest.parent[graph.node(i, 1)] >> 1;
        if (one == two) return;
        atomicMinimum(best + one, static_cast<uint32_t>(i));
        atomicMinimum(best + two, static_cast<uint32_t>(i));
        atomicStore(found, 1);
    }
};
struct ForestTakeBody {  // joins by what was picked: a forest, so nothing is contradicted
    Forest forest;
    Graph graph;
    uint32_t* best;
    OVOXEL_HD void operator()(int64_t v) const {
        const uint32_t pair = best[v];
        if (pair != kNoPair) forest.join(graph.node(pair, 0), graph.node(pair, 1), graph.flag(pair));
        best[v] = kNoPair;
    }
};
struct ForestResultBody {
    Forest forest;
    int64_t* labels;
    uint8_t* parity;  // or null
    OVOXEL_HD void operator()(int64_t v) const {
        labels[v] = forest.parent[v] >> 1;
        if (parity) parity[v] = forest.parent[v] & 1;
    }
};
struct ForestConflictBody {  // pairs that the colours contradict
    Forest forest;
    Graph graph;
    uint8_t* conflicts;
    OVOXEL_HD void operator()(int64_t i) const {
        conflicts[i] = (forest.parent[graph.node(i, 0)] ^ forest.parent[graph.node(i, 1)] ^ graph.flag(i)) & 1;
    }
};

struct ComponentsOut {
    int64_t* labels;     // [n] smallest member of each node's component
    uint8_t* parity;     // [n] 1 if the node differs from that member; null: colours are not asked for
    uint8_t* conflicts;  // [m] 1 if the pair is contradicted
};

// With `ordered`, pairs are honoured one after the other, and a pair that contradicts earlier ones is a conflict and
// otherwise ignored. That keeps the spanning forest of the earliest pairs, found by rounds of O. Boruvka, 1926. Without,
// all are joined at once: colours and conflicts of a component mean something only if it has no conflict, and whether
// it has one does not depend on chance. n < 2^31, m < 2^32 - 1.
template <class Run>
void findComponents(Workspace& workspace, Run run, int64_t n, const Graph& graph, int64_t m, bool ordered,
                    const ComponentsOut& out) {
    const Forest forest{workspace.allocate<uint32_t>(n)};
    run(n, ForestStartBody{forest});
    if (ordered) {
        uint32_t* best = workspace.allocate<uint32_t>(n);
        uint32_t* found = workspace.allocate<uint32_t>(1);
        run(n, ForestClearBody{best});
        for (;;) {
            run.clear(found);
            run(m, ForestPickBody{forest, graph, best, found});
            if (!run.read(found)) break;
            run(n, ForestTakeBody{forest, graph, best});
            run(n, ForestFlattenBody{forest});
        }
        workspace.release(best);
        workspace.release(found);
    } else {
        run(m, ForestJoinBody{forest, graph});
        run(n, ForestFlattenBody{forest});
    }
    run(n, ForestResultBody{forest, out.labels, out.parity});
    if (out.conflicts) run(m, ForestConflictBody{forest, graph, out.conflicts});
    workspace.release(forest.parent);
}

void components(Workspace& workspace, int64_t n, const Graph& graph, int64_t m, bool ordered, const ComponentsOut& out);
void componentsOnDevice(Workspace& workspace, int64_t n, const Graph& graph, int64_t m, bool ordered,
                        const ComponentsOut& out);

}  // namespace ovoxel::mesh
