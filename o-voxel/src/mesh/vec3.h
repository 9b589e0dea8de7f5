// A 3-vector of doubles; just the operations that the mesh topic needs.
#pragma once

#include <cmath>

#include "common/host_device.h"

namespace ovoxel::mesh {

struct Vec3 {
    double x = 0, y = 0, z = 0;
    OVOXEL_HD double operator[](int i) const { return i == 0 ? x : (i == 1 ? y : z); }
};

OVOXEL_HD inline Vec3 operator+(const Vec3& a, const Vec3& b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
OVOXEL_HD inline Vec3 operator-(const Vec3& a, const Vec3& b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
OVOXEL_HD inline Vec3 operator*(const Vec3& a, double s) { return {a.x * s, a.y * s, a.z * s}; }
OVOXEL_HD inline double dot(const Vec3& a, const Vec3& b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
OVOXEL_HD inline Vec3 cross(const Vec3& a, const Vec3& b) {
    return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
OVOXEL_HD inline double norm2(const Vec3& a) { return dot(a, a); }
OVOXEL_HD inline double norm(const Vec3& a) { return std::sqrt(norm2(a)); }

}  // namespace ovoxel::mesh
