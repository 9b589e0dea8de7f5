// Shared vocabulary of the mesh -> voxel conversions. Coordinates are box-relative (measured from aabb[0]) in mesh
// units unless a name says otherwise; "grid units" are box-relative coordinates divided by the voxel size.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"

namespace ovoxel {

struct Vec3 {
    double v[3];
    OVOXEL_HD double& operator[](int i) { return v[i]; }
    OVOXEL_HD double operator[](int i) const { return v[i]; }
};

OVOXEL_HD inline Vec3 operator-(const Vec3& a, const Vec3& b) { return {{a[0] - b[0], a[1] - b[1], a[2] - b[2]}}; }
OVOXEL_HD inline Vec3 operator+(const Vec3& a, const Vec3& b) { return {{a[0] + b[0], a[1] + b[1], a[2] + b[2]}}; }
OVOXEL_HD inline Vec3 operator*(const Vec3& a, double s) { return {{a[0] * s, a[1] * s, a[2] * s}}; }
OVOXEL_HD inline double dot(const Vec3& a, const Vec3& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
OVOXEL_HD inline Vec3 cross(const Vec3& a, const Vec3& b) {
    return {{a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]}};
}
// Unit vector; a zero vector stays zero.
OVOXEL_HD inline Vec3 normalized(const Vec3& a) {
    const double n = std::sqrt(dot(a, a));
    return n > 0 ? a * (1.0 / n) : Vec3{{0, 0, 0}};
}

// A regular grid of count[] cells of size[] (mesh units, exactly representable in float).
struct GridSpec {
    double size[3];
    int64_t count[3];
    bool published;  // reproduce the recorded behaviour of the published implementation, defects included
};

OVOXEL_HD inline int64_t cellKey(const GridSpec& g, int64_t x, int64_t y, int64_t z) {
    return (x * g.count[1] + y) * g.count[2] + z;
}

// Cells lo <= c < hi.
struct CellBox {
    int64_t lo[3], hi[3];
    OVOXEL_HD bool contains(int64_t x, int64_t y, int64_t z) const {
        return x >= lo[0] && x < hi[0] && y >= lo[1] && y < hi[1] && z >= lo[2] && z < hi[2];
    }
};

OVOXEL_HD inline CellBox wholeGrid(const GridSpec& g) {
    return {{0, 0, 0}, {g.count[0], g.count[1], g.count[2]}};
}

// Lower corner of a cell.
OVOXEL_HD inline Vec3 cellCorner(const GridSpec& g, const int32_t cell[3]) {
    return {{cell[0] * g.size[0], cell[1] * g.size[1], cell[2] * g.size[2]}};
}

// Three corners in box-relative mesh units.
struct Triangle {
    Vec3 p[3];
};

struct MeshView {
    const float* vertices;  // [V, 3] box-relative
    const int32_t* faces;   // [F, 3] or null: triangle soup, vertices [3F, 3]
    int64_t numVertices, numFaces;

    OVOXEL_HD Vec3 vertex(int64_t v) const { return {{vertices[3 * v], vertices[3 * v + 1], vertices[3 * v + 2]}}; }
    OVOXEL_HD Triangle triangle(int64_t f) const {
        Triangle t;
        for (int i = 0; i < 3; ++i) t.p[i] = vertex(faces ? int64_t{faces[3 * f + i]} : 3 * f + i);
        return t;
    }
};

// floor(value), or trunc(value), clamped to [lo, hi] where lo >= 0; lo for NaN. (A call of floor costs more than this.)
OVOXEL_HD inline int64_t clampFloor(double value, int64_t lo, int64_t hi) {
    if (!(value >= static_cast<double>(lo + 1))) return lo;
    if (!(value < static_cast<double>(hi))) return hi;
    return static_cast<int64_t>(value);
}

// floor(value) of a value that fits int64.
OVOXEL_HD inline int64_t floorIndex(double value) {
    const int64_t i = static_cast<int64_t>(value);
    return i - (static_cast<double>(i) > value);
}

}  // namespace ovoxel
