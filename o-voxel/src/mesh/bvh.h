// Building a hierarchy over triangles and running many queries, on CPU threads or on a GPU; see bvh_body.h.
#pragma once

#include <cstdint>

#include "common/device.h"
#include "common/host_device.h"
#include "mesh/bvh_body.h"

namespace ovoxel::mesh {

struct BvhInput {
    Reals vertices;        // [V, 3]
    const int32_t* faces;  // [F, 3], in [0, V)
    int64_t numFaces;
    double padding;  // added to all boxes

    OVOXEL_HD Vec3 corner(int64_t face, int k) const { return vertices.row(faces[3 * face + k]); }
};

// Memory of a hierarchy, to be viewed as BvhView.
struct BvhStorage {
    BvhNode* nodes;
    void* corners;  // float, or double if the vertices are
    int32_t* ids;
};

struct BvhCentreBody {  // the point that a face is sorted by
    BvhInput in;
    float* centres;   // [F, 3]
    uint32_t* order;  // [F] faces, in the order of their numbers
    OVOXEL_HD void operator()(int64_t i) const {
        const Vec3 centre = (in.corner(i, 0) + in.corner(i, 1) + in.corner(i, 2)) * (1.0 / 3);
        for (int k = 0; k < 3; ++k) centres[3 * i + k] = static_cast<float>(centre[k]);
        order[i] = static_cast<uint32_t>(i);
    }
};

OVOXEL_HD inline void setChildBox(BvhNode& node, int k, const float lo[3], const float hi[3]) {
    for (int axis = 0; axis < 3; ++axis) node.lo[axis][k] = lo[axis], node.hi[axis][k] = hi[axis];
}

struct BvhLeafBody {  // one leaf: gathers its triangles, writes its box into its parent
    BvhInput in;
    BvhLayout layout;
    const uint32_t* order;  // faces along the curve
    BvhStorage out;
    OVOXEL_HD void operator()(int64_t leaf) const {
        float lo[3] = {HUGE_VALF, HUGE_VALF, HUGE_VALF}, hi[3] = {-HUGE_VALF, -HUGE_VALF, -HUGE_VALF};
        for (int k = 0; k < kBvhWidth; ++k) {
            const int64_t at = kBvhWidth * leaf + k;
            const int32_t face = at < layout.faces ? static_cast<int32_t>(order[at]) : -1;
            out.ids[at] = face;
            for (int corner = 0; corner < 3; ++corner) {
                const Vec3 p = face >= 0 ? in.corner(face, corner) : Vec3{};
                for (int axis = 0; axis < 3; ++axis) {
                    const int64_t slot = 9 * kBvhWidth * leaf + kBvhWidth * (3 * corner + axis) + k;
                    if (in.vertices.wide)
                        static_cast<double*>(out.corners)[slot] = p[axis];
                    else
                        static_cast<float*>(out.corners)[slot] = static_cast<float>(p[axis]);
                    if (face < 0) continue;
                    lo[axis] = smaller(lo[axis], roundDown(p[axis] - in.padding));
                    hi[axis] = larger(hi[axis], roundUp(p[axis] + in.padding));
                }
            }
        }
        setChildBox(out.nodes[layout.first[0] + leaf / kBvhWidth], static_cast<int>(leaf % kBvhWidth), lo, hi);
    }
};

struct BvhLevelBody {  // one node of a level below the root: writes its box into its parent
    BvhLayout layout;
    BvhNode* nodes;
    int level;
    OVOXEL_HD void operator()(int64_t index) const {
        float lo[3] = {HUGE_VALF, HUGE_VALF, HUGE_VALF}, hi[3] = {-HUGE_VALF, -HUGE_VALF, -HUGE_VALF};
        const BvhNode& node = nodes[layout.first[level] + index];
        for (int axis = 0; axis < 3; ++axis)
            for (int k = 0; k < kBvhWidth; ++k) {
                lo[axis] = smaller(lo[axis], node.lo[axis][k]);
                hi[axis] = larger(hi[axis], node.hi[axis][k]);
            }
        setChildBox(nodes[layout.first[level + 1] + index / kBvhWidth], static_cast<int>(index % kBvhWidth), lo, hi);
    }
};

struct BvhEmptyBody {  // marks all children of a node as missing
    BvhNode* nodes;
    OVOXEL_HD void operator()(int64_t i) const {
        for (int axis = 0; axis < 3; ++axis)
            for (int k = 0; k < kBvhWidth; ++k) nodes[i].lo[axis][k] = HUGE_VALF, nodes[i].hi[axis][k] = -HUGE_VALF;
    }
};

struct BvhNearestBody {
    BvhView bvh;
    Reals points, normals;  // [N, 3]; normals may be absent
    double minCos, limit;   // faces beyond this distance do not count
    RealsOut distance;      // [N]
    int64_t* face;          // [N]
    RealsOut uvw;           // [N, 3] or absent
    // Returns the leaf of the result: the hint for the next point, if that is near by.
    OVOXEL_HD int64_t find(int64_t i, int64_t hint) const {
        const Vec3 normal = normals ? normals.row(i) : Vec3{};
        const Nearest r = bvhNearest(bvh, points.row(i), normals ? &normal : nullptr, minCos, limit * limit, hint);
        distance.set(i, r.face >= 0 ? sqrt(r.distance2) : HUGE_VAL);
        face[i] = r.face;
        if (uvw) {
            uvw.set(3 * i, r.face >= 0 ? 1 - r.v - r.w : 0.0);
            uvw.set(3 * i + 1, r.v);
            uvw.set(3 * i + 2, r.w);
        }
        return r.leaf;
    }
    OVOXEL_HD void operator()(int64_t i) const { find(i, -1); }
};

struct BvhTraceBody {
    BvhView bvh;
    Reals origins, directions;  // [N, 3]
    double tMin, tMax;
    RealsOut depth;  // [N]
    int64_t* face;   // [N]
    OVOXEL_HD void operator()(int64_t i) const {
        const RayHit hit = bvhTrace(bvh, BvhRay(origins.row(i), directions.row(i)), tMin, tMax);
        depth.set(i, hit.t);
        face[i] = hit.face;
    }
};

struct BvhCountBody {
    BvhView bvh;
    Reals origins, directions;  // [N, 3]
    double tMin, tMax;
    int64_t maxHits;
    int64_t* hits;  // [N]
    OVOXEL_HD void operator()(int64_t i) const {
        hits[i] = bvhCountHits(bvh, BvhRay(origins.row(i), directions.row(i)), tMin, tMax, maxHits);
    }
};

// Fills `out`, whose arrays have the sizes of `layout` (nodes; 9 * kBvhWidth corners and kBvhWidth ids a leaf).
void buildBvh(const BvhInput& in, const BvhLayout& layout, const BvhStorage& out);
void buildBvhOnDevice(Workspace& workspace, const BvhInput& in, const BvhLayout& layout, const BvhStorage& out);

void runNearest(const BvhNearestBody& body, int64_t n);
void runTrace(const BvhTraceBody& body, int64_t n);
void runCount(const BvhCountBody& body, int64_t n);
void runNearestOnDevice(const Workspace& workspace, const BvhNearestBody& body, int64_t n);
void runTraceOnDevice(const Workspace& workspace, const BvhTraceBody& body, int64_t n);
void runCountOnDevice(const Workspace& workspace, const BvhCountBody& body, int64_t n);

}  // namespace ovoxel::mesh
