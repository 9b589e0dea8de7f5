// The part of a triangle inside a voxel, and barycentric coordinates.
#pragma once

#include "convert/grid_body.h"

namespace ovoxel {

// What the per-voxel work needs of a triangle.
struct TriangleFrame {
    Triangle tri;
    Vec3 e1, e2, normal;        // from corner 0; unit normal, zero without area
    double d11, d12, d22, det;  // of the edges' Gram matrix
};

OVOXEL_HD inline TriangleFrame triangleFrame(const Triangle& t) {
    TriangleFrame f;
    f.tri = t;
    f.e1 = t.p[1] - t.p[0], f.e2 = t.p[2] - t.p[0];
    f.normal = normalized(cross(f.e1, f.e2));
    f.d11 = dot(f.e1, f.e1), f.d12 = dot(f.e1, f.e2), f.d22 = dot(f.e2, f.e2);
    f.det = f.d11 * f.d22 - f.d12 * f.d12;
    return f;
}

// Barycentrics of the projection of p onto the triangle's plane, not clamped; thirds for a triangle without area.
OVOXEL_HD inline void planeBarycentrics(const TriangleFrame& f, const Vec3& p, double b[3]) {
    if (!(f.det > 0)) {
        b[0] = b[1] = b[2] = 1.0 / 3.0;
        return;
    }
    const Vec3 q = p - f.tri.p[0];
    const double q1 = dot(q, f.e1), q2 = dot(q, f.e2);
    b[1] = (f.d22 * q1 - f.d12 * q2) / f.det;
    b[2] = (f.d11 * q2 - f.d12 * q1) / f.det;
    b[0] = 1.0 - b[1] - b[2];
}

// Barycentrics of the closest point of the triangle: the projection if it is inside, else the best edge point.
OVOXEL_HD inline void closestBarycentrics(const TriangleFrame& frame, const Vec3& p, double b[3]) {
    planeBarycentrics(frame, p, b);
    if (b[0] >= 0 && b[1] >= 0 && b[2] >= 0) return;
    const Triangle& t = frame.tri;
    double best = -1;
    double out[3] = {0, 0, 0};
    for (int i = 0; i < 3; ++i) {
        const int j = (i + 1) % 3;
        const Vec3 e = t.p[j] - t.p[i];
        const double length2 = dot(e, e);
        double s = length2 > 0 ? dot(p - t.p[i], e) / length2 : 0.0;
        s = s < 0 ? 0 : s > 1 ? 1 : s;
        const Vec3 gap = p - (t.p[i] + e * s);
        const double distance2 = dot(gap, gap);
        if (best >= 0 && !(distance2 < best)) continue;
        best = distance2;
        out[i] = 1 - s;
        out[j] = s;
        out[3 - i - j] = 0;
    }
    for (int i = 0; i < 3; ++i) b[i] = out[i];
}

// A triangle cut by six planes has at most nine corners; rounding in a triangle that lies in a plane can add more.
constexpr int kMaxPolygon = 16;

// Area and centroid of the part of the triangle inside the box [corner, corner + size] (Sutherland-Hodgman). The
// centroid is left alone where the area is zero.
OVOXEL_HD inline double clippedArea(const TriangleFrame& f, const Vec3& corner, const double size[3], Vec3& centroid) {
    Vec3 storage[2][kMaxPolygon + 1];  // one more: a place to write what is not kept
    Vec3 *poly = storage[0], *next = storage[1];
    int n = 3;
    for (int i = 0; i < 3; ++i) poly[i] = f.tri.p[i] - corner;
    bool cuts[6];  // only planes with a corner of the triangle outside can cut
    for (int a = 0; a < 3; ++a) {
        cuts[2 * a] = poly[0][a] < 0 || poly[1][a] < 0 || poly[2][a] < 0;
        cuts[2 * a + 1] = poly[0][a] > size[a] || poly[1][a] > size[a] || poly[2][a] > size[a];
    }
    for (int plane = 0; plane < 6; ++plane) {
        if (!cuts[plane]) continue;
        const int a = plane >> 1;
        const double sign = plane & 1 ? -1.0 : 1.0, offset = plane & 1 ? size[a] : 0.0;
        int m = 0;
        double dp = sign * poly[0][a] + offset;
        for (int i = 0; i < n; ++i) {  // no branches: which side a corner is on is hard to predict
            const Vec3 &p = poly[i], &q = poly[i + 1 < n ? i + 1 : 0];
            const double dq = sign * q[a] + offset;
            const bool inside = dp >= 0, crosses = inside != (dq >= 0);
            next[m] = p;
            m += inside & (m < kMaxPolygon);
            next[m] = p + (q - p) * (dp / (dp - dq));
            m += crosses & (m < kMaxPolygon);
            dp = dq;
        }
        n = m;
        if (n == 0) return 0;
        Vec3* swap = poly;
        poly = next, next = swap;
    }
    double total = 0;
    Vec3 sum = {{0, 0, 0}};
    for (int i = 1; i + 1 < n; ++i) {
        const double area = 0.5 * std::fabs(dot(cross(poly[i] - poly[0], poly[i + 1] - poly[0]), f.normal));
        total += area;
        sum = sum + (poly[0] + poly[i] + poly[i + 1]) * (area / 3.0);
    }
    if (total > 0) centroid = corner + sum * (1.0 / total);
    return total;
}

}  // namespace ovoxel
