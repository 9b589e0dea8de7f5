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

struct Polygon {
    Vec3 p[kMaxPolygon];
    int n;
};

// Where the edge from p to q, at distances dp and dq of different sign, meets the plane.
OVOXEL_HD inline Vec3 cutEdge(const Vec3& p, const Vec3& q, double dp, double dq) {
    return p + (q - p) * (dp / (dp - dq));
}

// The part of a polygon where sign * p[axis] + offset >= 0 (Sutherland-Hodgman). False if that is all of it; `out` is
// then not set.
OVOXEL_HD inline bool clipByPlane(const Polygon& in, int axis, double sign, double offset, Polygon& out) {
    double d[kMaxPolygon];
    const int n = in.n;
    for (int i = 0; i < n; ++i) d[i] = sign * in.p[i][axis] + offset;
    int runs = 0, count = 0, first = 0;  // of corners inside
    bool before = d[n - 1] >= 0;
    for (int i = 0; i < n; ++i) {
        const bool inside = d[i] >= 0, enters = inside & !before;
        runs += enters;
        count += inside;
        first = enters ? i : first;
        before = inside;
    }
    if (count == n) return false;
    out.n = 0;
    if (count == 0) return true;
    if (runs == 1) {  // always, but for rounding in flat polygons
        const int previous = first ? first - 1 : n - 1;
        out.p[0] = cutEdge(in.p[previous], in.p[first], d[previous], d[first]);
        int i = first;
        for (int k = 1; k <= count; ++k, i = i + 1 < n ? i + 1 : 0) out.p[k] = in.p[i];
        const int last = i ? i - 1 : n - 1;
        out.n = count + 1;
        if (out.n < kMaxPolygon) out.p[out.n++] = cutEdge(in.p[last], in.p[i], d[last], d[i]);
        return true;
    }
    for (int i = 0; i < n; ++i) {
        const int j = i + 1 < n ? i + 1 : 0;
        if (d[i] >= 0 && out.n < kMaxPolygon) out.p[out.n++] = in.p[i];
        if ((d[i] >= 0) != (d[j] >= 0) && out.n < kMaxPolygon) out.p[out.n++] = cutEdge(in.p[i], in.p[j], d[i], d[j]);
    }
    return true;
}

// Area and centroid of the part of the triangle inside the box [corner, corner + size] (Sutherland-Hodgman). The
// centroid is left alone where the area is zero.
OVOXEL_HD inline double clippedArea(const TriangleFrame& f, const Vec3& corner, const double size[3], Vec3& centroid) {
    Polygon storage[2];
    Polygon *poly = &storage[0], *next = &storage[1];
    poly->n = 3;
    for (int i = 0; i < 3; ++i) poly->p[i] = f.tri.p[i] - corner;
    bool cuts[6];  // only planes with a corner of the triangle outside can cut
    for (int a = 0; a < 3; ++a) {
        cuts[2 * a] = poly->p[0][a] < 0 || poly->p[1][a] < 0 || poly->p[2][a] < 0;
        cuts[2 * a + 1] = poly->p[0][a] > size[a] || poly->p[1][a] > size[a] || poly->p[2][a] > size[a];
    }
    for (int plane = 0; plane < 6; ++plane) {
        if (!cuts[plane]) continue;
        const int a = plane >> 1;
        if (!clipByPlane(*poly, a, plane & 1 ? -1.0 : 1.0, plane & 1 ? size[a] : 0.0, *next)) continue;
        if (next->n == 0) return 0;
        Polygon* swap = poly;
        poly = next, next = swap;
    }
    const Vec3* p = poly->p;
    double total = 0;
    Vec3 sum = {{0, 0, 0}};
    for (int i = 1; i + 1 < poly->n; ++i) {
        const double area = 0.5 * std::fabs(dot(cross(p[i] - p[0], p[i + 1] - p[0]), f.normal));
        total += area;
        sum = sum + (p[0] + p[i] + p[i + 1]) * (area / 3.0);
    }
    if (total > 0) centroid = corner + sum * (1.0 / total);
    return total;
}

}  // namespace ovoxel
