// Quadric error of a vertex, kept relative to its position: small numbers, so that single precision is enough to store.
//
// E(x) = d^T A d + 2 b^T d + c with d = x - p, p the vertex. M. Garland and P. Heckbert, Surface Simplification Using
// Quadric Error Metrics, 1997. All arithmetic is in double precision, on the host and on the device alike.
#pragma once

#include "common/host_device.h"
#include "mesh/vec3.h"

namespace ovoxel::mesh {

template <class T>
struct Quadric {
    T a[6];  // xx, xy, xz, yy, yz, zz
    T b[3];
    T c;
};

struct Symmetric3 {
    double xx = 0, xy = 0, xz = 0, yy = 0, yz = 0, zz = 0;

    OVOXEL_HD Vec3 operator*(const Vec3& v) const {
        return {xx * v.x + xy * v.y + xz * v.z, xy * v.x + yy * v.y + yz * v.z, xz * v.x + yz * v.y + zz * v.z};
    }
    // Adds w n n^T: the squared distance from a plane of unit normal n through the vertex, weighted.
    OVOXEL_HD void addPlane(const Vec3& n, double w) {
        xx += w * n.x * n.x, xy += w * n.x * n.y, xz += w * n.x * n.z;
        yy += w * n.y * n.y, yz += w * n.y * n.z, zz += w * n.z * n.z;
    }
    OVOXEL_HD void addPoint(double w) { xx += w, yy += w, zz += w; }
};

// The summed quadric of two vertices about the midpoint between them, and where the joined vertex should go.
struct JoinedQuadric {
    Symmetric3 a;
    Vec3 b, middle, half;  // half = half the way from the first vertex to the second
    double c = 0;

    template <class T>
    OVOXEL_HD JoinedQuadric(const Quadric<T>& qv, const Vec3& pv, const Quadric<T>& qw, const Vec3& pw)
        : middle((pv + pw) * 0.5), half((pw - pv) * 0.5) {
        add(qv, half);
        add(qw, half * -1.0);
    }

    OVOXEL_HD double error(const Vec3& y) const { return dot(y, a * y) + 2 * dot(b, y) + c; }

    // Offset from the midpoint with the least error. A held end (a boundary vertex beside an inner one) stays where it
    // is; where the minimum is not well defined or far away, the best of the midpoint and both ends is taken.
    OVOXEL_HD Vec3 place(bool holdFirst, bool holdSecond, double& cost) const {
        Vec3 y;
        if (holdFirst != holdSecond) {
            y = holdFirst ? half * -1.0 : half;
            cost = error(y);
        } else if (minimum(y)) {
            cost = error(y);
        } else {
            y = {};
            cost = c;
            const double first = error(half * -1.0), second = error(half);
            if (first < cost) cost = first, y = half * -1.0;
            if (second < cost) cost = second, y = half;
        }
        if (!(cost > 0)) cost = 0;
        return y;
    }

    template <class T>
    OVOXEL_HD Quadric<T> at(const Vec3& y) const {
        const Vec3 ay = a * y;
        Quadric<T> q;
        q.a[0] = static_cast<T>(a.xx), q.a[1] = static_cast<T>(a.xy), q.a[2] = static_cast<T>(a.xz);
        q.a[3] = static_cast<T>(a.yy), q.a[4] = static_cast<T>(a.yz), q.a[5] = static_cast<T>(a.zz);
        q.b[0] = static_cast<T>(b.x + ay.x), q.b[1] = static_cast<T>(b.y + ay.y), q.b[2] = static_cast<T>(b.z + ay.z);
        q.c = static_cast<T>(dot(y, ay) + 2 * dot(b, y) + c);
        return q;
    }

private:
    template <class T>
    OVOXEL_HD void add(const Quadric<T>& q, const Vec3& toMiddle) {
        const Symmetric3 m{q.a[0], q.a[1], q.a[2], q.a[3], q.a[4], q.a[5]};
        const Vec3 moved = m * toMiddle, own{q.b[0], q.b[1], q.b[2]};
        a.xx += m.xx, a.xy += m.xy, a.xz += m.xz, a.yy += m.yy, a.yz += m.yz, a.zz += m.zz;
        b = b + own + moved;
        c += q.c + 2 * dot(own, toMiddle) + dot(toMiddle, moved);
    }

    OVOXEL_HD bool minimum(Vec3& y) const {
        const double m00 = a.yy * a.zz - a.yz * a.yz, m01 = a.xz * a.yz - a.xy * a.zz, m02 = a.xy * a.yz - a.xz * a.yy;
        const double det = a.xx * m00 + a.xy * m01 + a.xz * m02, trace = a.xx + a.yy + a.zz;
        if (!(std::abs(det) > 1e-14 * trace * trace * trace)) return false;
        const double m11 = a.xx * a.zz - a.xz * a.xz, m12 = a.xy * a.xz - a.xx * a.yz, m22 = a.xx * a.yy - a.xy * a.xy;
        const double scale = -1 / det;
        y = Vec3{m00 * b.x + m01 * b.y + m02 * b.z, m01 * b.x + m11 * b.y + m12 * b.z,
                 m02 * b.x + m12 * b.y + m22 * b.z} * scale;
        return norm2(y) <= 4 * norm2(half);
    }
};

// Limits of a collapse: how far it may turn a face (cosine) and how thin it may leave it.
struct FaceLimits {
    double minCos;
    double minShape;  // 4 sqrt(3) area / (sum of squared edges): 1 for an equilateral triangle; 0 allows any

    // May the corner `from` of a face with the other corners p, q move to `to`? A face that has no area may do anything.
    OVOXEL_HD bool allow(const Vec3& from, const Vec3& to, const Vec3& p, const Vec3& q) const {
        const Vec3 before = cross(p - from, q - from), after = cross(p - to, q - to);
        const double before2 = norm2(before), after2 = norm2(after);
        if (before2 < 1e-32) return true;
        const double turned = dot(before, after);
        if (!(turned > 0) || turned * turned <= minCos * minCos * before2 * after2) return false;
        if (minShape <= 0) return true;
        const double side2 = norm2(p - q);
        const double shape = 2 * kSqrt3 * std::sqrt(after2) / (norm2(p - to) + norm2(q - to) + side2);
        if (shape >= minShape) return true;
        return shape >= 2 * kSqrt3 * std::sqrt(before2) / (norm2(p - from) + norm2(q - from) + side2);
    }

private:
    static constexpr double kSqrt3 = 1.7320508075688772;
};

}  // namespace ovoxel::mesh
