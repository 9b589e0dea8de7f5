// One voxel of the dual grid: what is known of it while the mesh passes, and its dual vertex at the end. Terms are added
// in a fixed order (crossings, then triangles, then boundary edges, each ascending), so results do not depend on how
// the work is divided.
#pragma once

#include "convert/crossings_body.h"
#include "convert/quadric_body.h"

namespace ovoxel {

struct DualGridOptions {
    double faceWeight, boundaryWeight, regularizationWeight;
    bool oddCrossings;  // a flag is set by an odd number of crossings, else by any
};

// The plane of a triangle.
struct FacePlane {
    Vec3 normal, point;
};

OVOXEL_HD inline FacePlane facePlane(const Triangle& t) {
    return {normalized(cross(t.p[1] - t.p[0], t.p[2] - t.p[1])), t.p[0]};
}

struct DualVoxel {
    Quadric q;
    double mean[3] = {};  // sum of crossing points from the lower corner, until it is solved
    int32_t crossings = 0;
    uint8_t flags[3] = {};

    // The edge crossed by `plane` is the one at `corner` (see cellAround) seen from this voxel.
    OVOXEL_HD void addCrossing(const GridSpec& g, const FacePlane& plane, int axis, int corner, float place,
                               const Vec3& lower, bool odd) {
        const int u = (axis + 1) % 3, w = (axis + 2) % 3;
        q.addPlane(plane.normal, plane.point - lower, 1.0);
        mean[u] += corner & 2 ? 0.0 : g.size[u];  // the edge is on the upper side of the lower voxels
        mean[w] += corner & 1 ? 0.0 : g.size[w];
        mean[axis] += static_cast<double>(place) * g.size[axis];
        ++crossings;
        if (corner == 0) flags[axis] = odd ? flags[axis] ^ 1 : 1;
    }
    OVOXEL_HD void addFace(const GridSpec& g, const FacePlane& plane, const Vec3& lower, double weight) {
        q.addPlane(plane.normal, plane.point - lower, g.published ? 1.0 : weight);
    }
    OVOXEL_HD void addBoundary(const Vec3& from, const Vec3& to, const Vec3& lower, double weight) {
        q.addLine(normalized(to - from), from - lower, weight);
    }
    // Dual vertex, box-relative.
    OVOXEL_HD void solve(const GridSpec& g, const Vec3& lower, double regularizationWeight, float out[3]) {
        const double count = static_cast<double>(crossings), scale = 1.0 / count;
        const Vec3 center = {{mean[0] * scale, mean[1] * scale, mean[2] * scale}};
        if (regularizationWeight > 0) q.addPoint(center, regularizationWeight * count);
        double x[3];
        minimizeInBox(q, center, g.size, x);
        for (int a = 0; a < 3; ++a) out[a] = static_cast<float>(lower[a] + x[a]);
    }
};

}  // namespace ovoxel
