// From a triangle in clip space to what is drawn: a polygon snapped to subpixels and its depth plane.
//
// Based on: Pineda, "A Parallel Algorithm for Polygon Rasterization", 1988 (edge functions); Olano and Greer,
// "Triangle Scan Conversion using 2D Homogeneous Coordinates", 1997 (barycentrics without a division by w).
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"
#include "raster/clip.h"

namespace ovoxel {

constexpr int kSubpixelBits = 8;
constexpr int64_t kSubpixels = int64_t{1} << kSubpixelBits;
constexpr double kGuardPixels = 1 << 20;  // snapped coordinates stay below 2^29, edge functions below 2^61

struct Viewport {
    int32_t height, width;
    double scaleX, scaleY;        // pixels per NDC unit
    double perPixelX, perPixelY;  // NDC units per pixel
    double guardX, guardY;        // guard band in NDC units

    Viewport(int32_t h, int32_t w)
        : height(h), width(w), scaleX(w / 2.0), scaleY(h / 2.0), perPixelX(2.0 / w), perPixelY(2.0 / h),
          guardX(1 + 2 * kGuardPixels / w), guardY(1 + 2 * kGuardPixels / h) {}
};

struct PixelBox {
    int32_t x0, y0, x1, y1;  // inclusive
    OVOXEL_HD bool empty() const { return x1 < x0 || y1 < y0; }
};

// Corners in subpixels, counter-clockwise (x right, rows up).
struct ScreenTriangle {
    int32_t x[3], y[3];
};

// z/w as a function of the pixel centre, and the bounds that the corners set.
struct DepthPlane {
    double value, slopeX, slopeY;  // at the reference position, per pixel
    double refX, refY;             // in pixels
    float zMin, zMax;
};

// A polygon of 3 (not clipped) to kMaxClipVertices corners; drawn as a fan around corner 0.
struct ScreenPolygon {
    int count;
    int32_t x[kMaxClipVertices], y[kMaxClipVertices];
    DepthPlane plane;
};

template <class T>
OVOXEL_HD inline T smaller(T a, T b) {
    return b < a ? b : a;
}
template <class T>
OVOXEL_HD inline T larger(T a, T b) {
    return a < b ? b : a;
}

struct Corner {
    float x, y, z, w;
};

// The finite corners of a triangle row; false if an index is out of range or a coordinate is not finite.
OVOXEL_HD inline bool loadCorners(const Corner* pos, int64_t numVertices, const int32_t* row, Corner (&v)[3]) {
    for (int k = 0; k < 3; ++k) {
        const int32_t i = row[k];
        if (i < 0 || i >= numVertices) return false;
#ifdef __CUDA_ARCH__
        const float4 p = reinterpret_cast<const float4*>(pos)[i];  // rows are aligned on the device
        v[k] = {p.x, p.y, p.z, p.w};
#else
        v[k] = pos[i];
#endif
        constexpr float kLargest = 3.4028234e38f;
        if (!(fabsf(v[k].x) <= kLargest && fabsf(v[k].y) <= kLargest && fabsf(v[k].z) <= kLargest &&
              fabsf(v[k].w) <= kLargest))
            return false;
    }
    return true;
}

OVOXEL_HD inline void toDouble(const Corner (&from)[3], ClipVertex (&to)[3]) {
    for (int k = 0; k < 3; ++k) to[k] = {from[k].x, from[k].y, from[k].z, from[k].w};
}

// The same as doubles.
OVOXEL_HD inline bool loadCorners(const Corner* pos, int64_t numVertices, const int32_t* row, ClipVertex (&v)[3]) {
    Corner corners[3];
    if (!loadCorners(pos, numVertices, row, corners)) return false;
    toDouble(corners, v);
    return true;
}

// True if the triangle lies wholly outside one side of the view volume. Comparing floats is exact.
OVOXEL_HD inline bool outside(const Corner (&v)[3]) {
    bool xp = true, xn = true, yp = true, yn = true, zp = true, zn = true, behind = true;
    for (const Corner& p : v) {
        xp = xp && p.x > p.w;
        xn = xn && p.x < -p.w;
        yp = yp && p.y > p.w;
        yn = yn && p.y < -p.w;
        zp = zp && p.z > p.w;
        zn = zn && p.z < -p.w;
        behind = behind && p.w <= 0;
    }
    return xp || xn || yp || yn || zp || zn || behind;
}

// True if no plane of clip.h can cut the triangle, by tests that are exact and cheap; the guard band is at least 65 wide.
OVOXEL_HD inline bool surelyWhole(const Corner (&v)[3]) {
    bool whole = true;
    for (const Corner& p : v)
        whole = whole && p.w > 1e-11f && p.z >= -p.w && p.z <= p.w && fabsf(p.x) <= 64 * p.w && fabsf(p.y) <= 64 * p.w;
    return whole;
}

OVOXEL_HD inline bool needsClip(const ClipVertex (&v)[3], const Viewport& view) {
    bool clip = false;
    for (const ClipVertex& p : v)
        for (int plane = 0; plane < kClipPlanes; ++plane)
            clip = clip || planeDistance(p, plane, view.guardX, view.guardY) < 0;
    return clip;
}

struct SnappedCorner {
    int32_t x, y;       // subpixels
    double nx, ny, nz;  // NDC
};

// Corners cut from values many orders of magnitude apart can miss their plane by rounding; bounding them keeps every
// conversion defined, and is the same for all triangles at the corner.
OVOXEL_HD inline SnappedCorner snapCorner(const ClipVertex& p, const Viewport& view) {
    const double inverse = 1 / larger(p.w, kMinW);
    SnappedCorner c;
    c.nx = smaller(view.guardX, larger(-view.guardX, p.x * inverse));
    c.ny = smaller(view.guardY, larger(-view.guardY, p.y * inverse));
    c.nz = smaller(1.0, larger(-1.0, p.z * inverse));
    c.x = static_cast<int32_t>(floor((c.nx + 1) * view.scaleX * kSubpixels + 0.5));
    c.y = static_cast<int32_t>(floor((c.ny + 1) * view.scaleY * kSubpixels + 0.5));
    return c;
}

// Pixels whose centres can lie inside the bounds (subpixels); centres are at 256 k + 128.
OVOXEL_HD inline PixelBox pixelBox(int32_t xLow, int32_t xHigh, int32_t yLow, int32_t yHigh, const Viewport& view) {
    return {larger(0, (xLow + 127) >> kSubpixelBits), larger(0, (yLow + 127) >> kSubpixelBits),
            smaller(view.width - 1, (xHigh - 128) >> kSubpixelBits),
            smaller(view.height - 1, (yHigh - 128) >> kSubpixelBits)};
}

OVOXEL_HD inline PixelBox pixelBox(const ScreenTriangle& t, const Viewport& view) {
    return pixelBox(smaller(t.x[0], smaller(t.x[1], t.x[2])), larger(t.x[0], larger(t.x[1], t.x[2])),
                    smaller(t.y[0], smaller(t.y[1], t.y[2])), larger(t.y[0], larger(t.y[1], t.y[2])), view);
}

// Turns the triangle counter-clockwise; false if it has no area.
OVOXEL_HD inline bool orient(ScreenTriangle& t) {
    const int64_t area = (static_cast<int64_t>(t.x[1]) - t.x[0]) * (static_cast<int64_t>(t.y[2]) - t.y[0]) -
                         (static_cast<int64_t>(t.x[2]) - t.x[0]) * (static_cast<int64_t>(t.y[1]) - t.y[0]);
    if (area < 0) {
        const int32_t x = t.x[1], y = t.y[1];
        t.x[1] = t.x[2];
        t.y[1] = t.y[2];
        t.x[2] = x;
        t.y[2] = y;
    }
    return area != 0;
}

// Depth plane of the unsnapped triangle: z/w is affine over the screen, sum z_i a_i / sum w_i a_i. The edge functions
// a_i are taken relative to the corner (nx, ny), which keeps small triangles exact; brought into the picture, which
// does the same for triangles with corners far outside of it.
OVOXEL_HD inline bool depthPlane(const ClipVertex (&v)[3], double nx, double ny, const Viewport& view, DepthPlane& out) {
    nx = smaller(1.0, larger(-1.0, nx));
    ny = smaller(1.0, larger(-1.0, ny));
    double x[3], y[3];
    for (int k = 0; k < 3; ++k) {
        x[k] = v[k].x - nx * v[k].w;
        y[k] = v[k].y - ny * v[k].w;
    }
    double value = 0, slopeX = 0, slopeY = 0, det = 0;
    for (int k = 0; k < 3; ++k) {
        const int i = (k + 1) % 3, j = (k + 2) % 3;
        const double a = x[i] * y[j] - x[j] * y[i];
        value += v[k].z * a;
        det += v[k].w * a;
        slopeX += v[k].z * (v[j].w * y[i] - v[i].w * y[j]);
        slopeY += v[k].z * (x[j] * v[i].w - x[i] * v[j].w);
    }
    if (det == 0) return false;
    const double inverse = 1 / det;
    out.value = value * inverse;
    out.slopeX = slopeX * inverse * view.perPixelX;
    out.slopeY = slopeY * inverse * view.perPixelY;
    out.refX = (nx + 1) * view.scaleX;
    out.refY = (ny + 1) * view.scaleY;
    return fabs(out.value) + fabs(out.slopeX) + fabs(out.slopeY) < 1e300;
}

// Coverage of one triangle: its three edge functions, so shifted that a sample is inside where none is negative. Left
// edges and the horizontal edge on the low-row side are inclusive, the others exclusive: of the triangles around a
// shared edge or corner exactly one owns a sample.
struct EdgeWalk {
    int64_t value[3], stepX[3], stepY[3];  // at a pixel centre, per pixel

    OVOXEL_HD EdgeWalk(const ScreenTriangle& t, int32_t px, int32_t py) {
        for (int k = 0; k < 3; ++k) {
            const int n = k == 2 ? 0 : k + 1;
            const int64_t dx = static_cast<int64_t>(t.x[n]) - t.x[k], dy = static_cast<int64_t>(t.y[n]) - t.y[k];
            const int64_t x = px * kSubpixels + kSubpixels / 2 - t.x[k], y = py * kSubpixels + kSubpixels / 2 - t.y[k];
            const bool inclusive = dy < 0 || (dy == 0 && dx > 0);
            value[k] = dx * y - dy * x - (inclusive ? 0 : 1);
            stepX[k] = -dy * kSubpixels;
            stepY[k] = dx * kSubpixels;
        }
    }
};

OVOXEL_HD inline float depthAt(const DepthPlane& plane, int32_t px, int32_t py) {
    const double row = plane.value + plane.slopeY * (py + 0.5 - plane.refY);
    const double z = row + plane.slopeX * (px + 0.5 - plane.refX);
    return smaller(larger(static_cast<float>(z), plane.zMin), plane.zMax) + 0.0f;  // no negative zero
}

// Clips and snaps; false if nothing can be drawn.
OVOXEL_HD inline bool makePolygon(const Corner (&corners)[3], const Viewport& view, ScreenPolygon& out) {
    ClipVertex v[3], polygon[kMaxClipVertices];
    toDouble(corners, v);
    for (int k = 0; k < 3; ++k) polygon[k] = v[k];
    out.count = !surelyWhole(corners) && needsClip(v, view) ? clipPolygon(polygon, 3, view.guardX, view.guardY) : 3;
    if (out.count < 3) return false;
    double zMin = 1, zMax = -1, nx = 0, ny = 0;
    for (int k = 0; k < out.count; ++k) {
        const SnappedCorner c = snapCorner(polygon[k], view);
        if (k == 0) {
            nx = c.nx;
            ny = c.ny;
        }
        out.x[k] = c.x;
        out.y[k] = c.y;
        zMin = smaller(zMin, c.nz);
        zMax = larger(zMax, c.nz);
    }
    out.plane.zMin = static_cast<float>(zMin);
    out.plane.zMax = static_cast<float>(zMax);
    return depthPlane(v, nx, ny, view, out.plane);
}

// Triangle k (2 .. count - 1) of the fan; false if it has no area.
OVOXEL_HD inline bool fanTriangle(const ScreenPolygon& p, int k, ScreenTriangle& t) {
    t = {{p.x[0], p.x[k - 1], p.x[k]}, {p.y[0], p.y[k - 1], p.y[k]}};
    return orient(t);
}

}  // namespace ovoxel
