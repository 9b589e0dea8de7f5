#include "mesh/bvh.h"

#include "common/launch.h"
#include "common/primitives.h"

namespace ovoxel::mesh {

void buildBvhOnDevice(Workspace& workspace, const BvhInput& in, const BvhLayout& layout, const BvhStorage& out) {
    const int64_t n = in.numFaces;
    uint64_t* codes = workspace.allocate<uint64_t>(n);
    uint32_t* faces = workspace.allocate<uint32_t>(n);
    launchFor(workspace, n, BvhCodeBody{in, codes, faces}, "codes of triangles");
    const SortedKeys sorted = sortPairs(workspace, codes, faces, n, 3 * kMaxCurveBits);
    workspace.release(codes);
    workspace.release(faces);
    workspace.release(sorted.keys);
    launchFor(workspace, layout.nodes, BvhEmptyBody{out.nodes}, "nodes");
    launchFor(workspace, layout.leaves, BvhLeafBody{in, layout, sorted.values, out}, "leaves");
    for (int level = 0; level + 1 < layout.levels; ++level)
        launchFor(workspace, layout.count(level), BvhLevelBody{layout, out.nodes, level}, "levels");
    workspace.release(sorted.values);
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
