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
OVOXEL_HD_CALL inline void closestBarycentrics(const TriangleFrame& frame, const Vec3& p, double b[3]) {
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

// The part of a polygon where sign * (p[axis] - plane) >= 0 (Sutherland-Hodgman). False if that is all of it; `out` is
// then not set.
OVOXEL_HD_CALL inline bool clipByPlane(const Polygon& in, int axis, double sign, double plane, Polygon& out) {
    double d[kMaxPolygon];
    const int n = in.n;
    int runs = 0, count = 0, first = 0;  // of corners inside
    bool before = sign * (in.p[n - 1][axis] - plane) >= 0;
    for (int i = 0; i < n; ++i) {
        d[i] = sign * (in.p[i][axis] - plane);
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

// The triangle cut to cells, layer by layer: first along the axes u and w, then along the axis of the largest normal
// component. Cells that share a layer or a column of layers share the cuts; the order in which they come changes
// nothing in the result.
class TriangleCutter {
  public:
    OVOXEL_HD TriangleCutter(const GridSpec& g, const TriangleFrame& frame) : g_(g), normal_(frame.normal) {
        main_ = 0;
        for (int a = 1; a < 3; ++a)
            if (std::fabs(normal_[a]) > std::fabs(normal_[main_])) main_ = a;
        whole_.n = 3;
        for (int i = 0; i < 3; ++i) whole_.p[i] = frame.tri.p[i];
        for (int a = 0; a < 3; ++a) {
            const double p = whole_.p[0][a], q = whole_.p[1][a], r = whole_.p[2][a];
            min_[a] = p < q ? p < r ? p : r : q < r ? q : r;
            max_[a] = p > q ? p > r ? p : r : q > r ? q : r;
        }
    }

    // Area and centroid of the part in a cell. The centroid is not set where the area is zero.
    OVOXEL_HD double area(const int32_t cell[3], Vec3& centroid) {
        const int u = (main_ + 1) % 3, w = (main_ + 2) % 3;
        if (cell[u] != layer_) {
            layerPart_ = clipToLayer(&whole_, u, cell[u], buffer_[0], buffer_[1]);
            layer_ = cell[u];
            column_ = -1;
        }
        if (cell[w] != column_) {
            columnPart_ = clipToLayer(layerPart_, w, cell[w], buffer_[2], buffer_[3]);
            column_ = cell[w];
        }
        const Polygon* part = clipToLayer(columnPart_, main_, cell[main_], buffer_[4], buffer_[5]);
        const Vec3* p = part->p;
        double total = 0;
        Vec3 sum = {{0, 0, 0}};
        for (int i = 1; i + 1 < part->n; ++i) {
            const double area = 0.5 * std::fabs(dot(cross(p[i] - p[0], p[i + 1] - p[0]), normal_));
            total += area;
            sum = sum + (p[0] + p[i] + p[i + 1]) * (area / 3.0);
        }
        if (total > 0) centroid = sum * (1.0 / total);
        return total;
    }

  private:
    // The part of a polygon in the layer `cell` of an axis: `in` itself or one of the buffers, neither of which is `in`.
    OVOXEL_HD const Polygon* clipToLayer(const Polygon* in, int axis, int32_t cell, Polygon& lower, Polygon& upper) {
        const double low = static_cast<double>(cell) * g_.size[axis];
        const double high = static_cast<double>(cell + 1) * g_.size[axis];
        if (min_[axis] < low && in->n && clipByPlane(*in, axis, 1.0, low, lower)) in = &lower;
        if (max_[axis] > high && in->n && clipByPlane(*in, axis, -1.0, high, upper)) in = &upper;
        return in;
    }

    const GridSpec& g_;
    Vec3 normal_;
    double min_[3], max_[3];  // of the triangle
    int main_;
    int32_t layer_ = -1, column_ = -1;
    Polygon whole_, buffer_[6];
    const Polygon *layerPart_ = nullptr, *columnPart_ = nullptr;
};

}  // namespace ovoxel
