// Clipping of one triangle against the view volume, bit-identical along shared edges.
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace ovoxel {

struct ClipVertex {
    double x, y, z, w;
};

constexpr double kMinW = 1e-12;
constexpr int kClipPlanes = 7;
constexpr int kMaxClipVertices = 3 + kClipPlanes;

// Signed distances: w >= tiny, the near and far planes, and a guard band of `guard` times the viewport on each side,
// which only keeps the fixed-point coordinates small (the viewport itself cuts by pixel bounds, exactly).
OVOXEL_HD inline double planeDistance(const ClipVertex& p, int plane, double guardX, double guardY) {
    switch (plane) {
        case 0: return p.w - kMinW;
        case 1: return p.w + p.z;
        case 2: return p.w - p.z;
        case 3: return guardX * p.w - p.x;
        case 4: return guardX * p.w + p.x;
        case 5: return guardY * p.w - p.y;
        default: return guardY * p.w + p.y;
    }
}

// The point where segment ab crosses a plane. The end points are put in a fixed order first, so that both triangles
// of an edge get the same bits whichever way they run along it.
OVOXEL_HD inline ClipVertex crossing(ClipVertex a, double da, ClipVertex b, double db) {
    const bool swap = a.x != b.x ? a.x > b.x : a.y != b.y ? a.y > b.y : a.z != b.z ? a.z > b.z : a.w > b.w;
    if (swap) {
        const ClipVertex p = a;
        a = b;
        b = p;
        const double d = da;
        da = db;
        db = d;
    }
    const double t = da / (da - db);
    return {a.x + t * (b.x - a.x), a.y + t * (b.y - a.y), a.z + t * (b.z - a.z), a.w + t * (b.w - a.w)};
}

// Sutherland and Hodgman, "Reentrant polygon clipping", 1974. Clips `polygon` in place, returns its vertex count.
OVOXEL_HD inline int clipPolygon(ClipVertex (&polygon)[kMaxClipVertices], int count, double guardX, double guardY) {
    ClipVertex next[kMaxClipVertices];
    for (int plane = 0; plane < kClipPlanes && count >= 3; ++plane) {
        int written = 0;
        for (int i = 0; i < count; ++i) {
            const ClipVertex& a = polygon[i];
            const ClipVertex& b = polygon[i + 1 == count ? 0 : i + 1];
            const double da = planeDistance(a, plane, guardX, guardY);
            const double db = planeDistance(b, plane, guardX, guardY);
            if (da >= 0 && written < kMaxClipVertices) next[written++] = a;
            if ((da >= 0) != (db >= 0) && written < kMaxClipVertices) next[written++] = crossing(a, da, b, db);
        }
        for (int i = 0; i < written; ++i) polygon[i] = next[i];
        count = written;
    }
    return count >= 3 ? count : 0;
}

}  // namespace ovoxel
