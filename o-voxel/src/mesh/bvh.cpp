#include "mesh/bvh.h"

#include <vector>

#include "common/parallel.h"
#include "common/parallel_sort.h"

namespace ovoxel::mesh {
namespace {

template <class Body>
void forEach(int64_t n, int64_t grain, const Body& body) {
    parallelFor(n, grain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) body(i);
    });
}

}  // namespace

void buildBvh(const BvhInput& in, const BvhLayout& layout, const BvhStorage& out) {
    const int64_t n = in.numFaces;
    std::vector<uint64_t> codes(n);
    std::vector<uint32_t> order(n);
    forEach(n, 8192, BvhCodeBody{in, codes.data(), order.data()});
    {
        std::vector<KeyValue> items(n);
        forEach(n, 65536, [&](int64_t i) { items[i] = {codes[i], order[i]}; });
        radixSort(items, 3 * kMaxCurveBits);
        forEach(n, 65536, [&](int64_t i) { order[i] = items[i].value; });
    }
    forEach(layout.nodes, 4096, BvhEmptyBody{out.nodes});
    // Whole nodes a thread: leaves of one node share its cache lines.
    forEach(layout.leaves, 1024 * kBvhWidth, BvhLeafBody{in, layout, order.data(), out});
    for (int level = 0; level + 1 < layout.levels; ++level)
        forEach(layout.count(level), 1024 * kBvhWidth, BvhLevelBody{layout, out.nodes, level});
}

void runNearest(const BvhNearestBody& body, int64_t n) {
    parallelFor(n, 1024, [&](int64_t begin, int64_t end) {
        int64_t hint = -1;
        for (int64_t i = begin; i < end; ++i) hint = body.find(i, hint);
    });
}

void runTrace(const BvhTraceBody& body, int64_t n) { forEach(n, 256, body); }
void runCount(const BvhCountBody& body, int64_t n) { forEach(n, 256, body); }

}  // namespace ovoxel::mesh
