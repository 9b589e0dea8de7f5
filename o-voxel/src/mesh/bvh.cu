#include "mesh/bvh.h"

#include "common/launch.h"
#include "common/primitives.h"

namespace ovoxel::mesh {
namespace {

constexpr int kCellBits = 16;  // places along the longest extent of a node that its faces are sorted by
constexpr int kNodeBits = 2;   // log2 of kBvhWidth

struct CentreBox {
    float lo[3], hi[3];
    __device__ void clear() {
        for (int k = 0; k < 3; ++k) lo[k] = HUGE_VALF, hi[k] = -HUGE_VALF;
    }
    __device__ void grow(const float* low, const float* high) {
        for (int k = 0; k < 3; ++k) lo[k] = smaller(lo[k], low[k]), hi[k] = larger(hi[k], high[k]);
    }
};

struct FirstBoxBody {  // around the centres of the faces below a node of level 0
    const float* centres;
    const uint32_t* order;
    int64_t n;
    CentreBox* boxes;
    __device__ void operator()(int64_t j) const {
        CentreBox box;
        box.clear();
        for (int64_t i = j * kBvhWidth * kBvhWidth; i < min(n, (j + 1) * kBvhWidth * kBvhWidth); ++i) {
            const float* centre = centres + 3 * static_cast<int64_t>(order[i]);
            box.grow(centre, centre);
        }
        boxes[j] = box;
    }
};

struct NextBoxBody {
    const CentreBox* below;
    int64_t n;  // of them
    CentreBox* boxes;
    __device__ void operator()(int64_t j) const {
        CentreBox box;
        box.clear();
        for (int64_t i = j * kBvhWidth; i < min(n, (j + 1) * kBvhWidth); ++i) box.grow(below[i].lo, below[i].hi);
        boxes[j] = box;
    }
};

struct CellKeyBody {  // (node, place along the longest extent of its centres)
    const float* centres;
    const uint32_t* order;
    const CentreBox* boxes;
    int shift;  // of a face's place to its node
    uint64_t* keys;
    __device__ void operator()(int64_t i) const {
        const int64_t node = i >> shift;
        const CentreBox& box = boxes[node];
        const float x = box.hi[0] - box.lo[0], y = box.hi[1] - box.lo[1], z = box.hi[2] - box.lo[2];
        const int axis = x >= y && x >= z ? 0 : (y >= z ? 1 : 2);
        const float size = axis == 0 ? x : (axis == 1 ? y : z);
        const float at = centres[3 * static_cast<int64_t>(order[i]) + axis] - box.lo[axis];
        constexpr float kCells = 1 << kCellBits;
        const float cell = size > 0 ? at / size * kCells : 0.0f;
        const uint64_t place = cell < kCells - 1 ? static_cast<uint64_t>(cell) : (1u << kCellBits) - 1;
        keys[i] = static_cast<uint64_t>(node) << kCellBits | place;
    }
};

// From the root down, faces are sorted inside every node along the longest extent of their centres: its four children
// are slabs of equal numbers of faces.
uint32_t* sortFaces(Workspace& workspace, const BvhLayout& layout, const float* centres, uint32_t* order) {
    const int64_t n = layout.faces;
    uint64_t* keys = workspace.allocate<uint64_t>(n);
    CentreBox* boxes[kBvhMaxLevels];
    for (int level = 0; level < layout.levels; ++level) boxes[level] = workspace.allocate<CentreBox>(layout.count(level));
    for (int level = layout.levels - 1; level >= 0; --level) {
        launchFor(workspace, layout.count(0), FirstBoxBody{centres, order, n, boxes[0]}, "boxes of centres");
        for (int l = 1; l <= level; ++l)
            launchFor(workspace, layout.count(l), NextBoxBody{boxes[l - 1], layout.count(l - 1), boxes[l]}, "boxes");
        const int shift = kNodeBits * (level + 2);
        launchFor(workspace, n, CellKeyBody{centres, order, boxes[level], shift, keys}, "places of faces");
        int bits = kCellBits;
        while (layout.count(level) > int64_t{1} << (bits - kCellBits)) ++bits;
        const SortedKeys sorted = sortPairs(workspace, keys, order, n, bits);
        workspace.release(keys);
        workspace.release(order);
        keys = sorted.keys;
        order = sorted.values;
    }
    workspace.release(keys);
    for (int level = 0; level < layout.levels; ++level) workspace.release(boxes[level]);
    return order;
}

}  // namespace

void buildBvhOnDevice(Workspace& workspace, const BvhInput& in, const BvhLayout& layout, const BvhStorage& out) {
    float* centres = workspace.allocate<float>(3 * in.numFaces);
    uint32_t* order = workspace.allocate<uint32_t>(in.numFaces);
    launchFor(workspace, in.numFaces, BvhCentreBody{in, centres, order}, "centres of triangles");
    order = sortFaces(workspace, layout, centres, order);
    workspace.release(centres);
    launchFor(workspace, layout.nodes, BvhEmptyBody{out.nodes}, "nodes");
    launchFor(workspace, layout.leaves, BvhLeafBody{in, layout, order, out}, "leaves");
    for (int level = 0; level + 1 < layout.levels; ++level)
        launchFor(workspace, layout.count(level), BvhLevelBody{layout, out.nodes, level}, "levels");
    workspace.release(order);
}

void runNearestOnDevice(const Workspace& workspace, const BvhNearestBody& body, int64_t n) {
    launchFor(workspace, n, body, "nearest triangles");
}

void runTraceOnDevice(const Workspace& workspace, const BvhTraceBody& body, int64_t n) {
    launchFor(workspace, n, body, "ray hits");
}

void runCountOnDevice(const Workspace& workspace, const BvhCountBody& body, int64_t n) {
    launchFor(workspace, n, body, "counts of ray hits");
}

}  // namespace ovoxel::mesh
