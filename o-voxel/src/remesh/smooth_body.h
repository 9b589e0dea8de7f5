// Smoothing of a triangle surface by its normals: host and device bodies.
//
// Normals are averaged over the faces around a face, those that differ much not at all, so edges stay (a bilateral filter
// with Tukey's weight); then every vertex moves towards the planes through the middles of its faces with the new normals.
// Y. Zheng et al., Bilateral Normal Filtering for Mesh Denoising, 2011; X. Sun et al., Fast and Effective
// Feature-Preserving Mesh Denoising, 2007.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"

namespace ovoxel::remesh {

struct Surface {
    const double* vertices;  // [V, 3]
    const int32_t* faces;    // [F, 3]
    const int32_t* starts;   // [V + 1]: faces around vertex v are ring[starts[v] .. starts[v + 1])
    const int32_t* ring;     // [3 F]
};

OVOXEL_HD inline double dot3(const double* a, const double* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

// Unit normal and area of every face; zero for faces without area.
struct FaceNormalsBody {
    Surface surface;
    double* normals;  // [F, 4]
    OVOXEL_HD void operator()(int64_t face) const {
        const int32_t* f = surface.faces + 3 * face;
        const double *p = surface.vertices + 3 * int64_t{f[0]}, *q = surface.vertices + 3 * int64_t{f[1]},
                     *r = surface.vertices + 3 * int64_t{f[2]};
        const double a[3] = {q[0] - p[0], q[1] - p[1], q[2] - p[2]}, b[3] = {r[0] - p[0], r[1] - p[1], r[2] - p[2]};
        const double n[3] = {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
        const double length = sqrt(dot3(n, n));
        for (int k = 0; k < 3; ++k) normals[4 * face + k] = length > 0 ? n[k] / length : 0;
        normals[4 * face + 3] = length / 2;
    }
};

struct FilterNormalsBody {
    Surface surface;
    const double* normals;  // [F, 4]
    double limit2;          // squared difference of unit normals from which on faces do not mix
    double* out;            // [F, 4]
    OVOXEL_HD void operator()(int64_t face) const {
        const double* own = normals + 4 * face;
        double sum[3] = {own[0] * own[3], own[1] * own[3], own[2] * own[3]};
        for (int corner = 0; corner < 3; ++corner) {
            const int32_t v = surface.faces[3 * face + corner];
            for (int32_t i = surface.starts[v]; i < surface.starts[v + 1]; ++i) {
                const double* other = normals + 4 * int64_t{surface.ring[i]};
                const double d[3] = {other[0] - own[0], other[1] - own[1], other[2] - own[2]};
                const double far = dot3(d, d) / limit2;
                if (far >= 1) continue;
                const double weight = other[3] * (1 - far) * (1 - far);
                for (int k = 0; k < 3; ++k) sum[k] += weight * other[k];
            }
        }
        const double length = sqrt(dot3(sum, sum));
        for (int k = 0; k < 3; ++k) out[4 * face + k] = length > 0 ? sum[k] / length : own[k];
        out[4 * face + 3] = own[3];
    }
};

struct MoveVerticesBody {
    Surface surface;
    const double* normals;   // [F, 4] filtered
    const double* original;  // [V, 3]
    const uint8_t* fixed;    // [V]
    double limit;            // farthest from the original position
    double* out;             // [V, 3]
    OVOXEL_HD void operator()(int64_t v) const {
        const double* x = surface.vertices + 3 * v;
        double move[3] = {}, total = 0;
        for (int32_t i = surface.starts[v]; i < surface.starts[v + 1]; ++i) {
            const int64_t face = surface.ring[i];
            const double *n = normals + 4 * face, area = n[3];
            double away[3] = {};
            for (int corner = 0; corner < 3; ++corner) {
                const double* p = surface.vertices + 3 * int64_t{surface.faces[3 * face + corner]};
                for (int k = 0; k < 3; ++k) away[k] += (p[k] - x[k]) / 3;
            }
            const double step = area * dot3(n, away);
            for (int k = 0; k < 3; ++k) move[k] += step * n[k];
            total += area;
        }
        double offset[3], length2 = 0;
        for (int k = 0; k < 3; ++k) {
            offset[k] = x[k] - original[3 * v + k] + (total > 0 && !fixed[v] ? move[k] / total : 0);
            length2 += offset[k] * offset[k];
        }
        const double shrink = length2 > limit * limit ? limit / sqrt(length2) : 1;
        for (int k = 0; k < 3; ++k) out[3 * v + k] = original[3 * v + k] + shrink * offset[k];
    }
};

}  // namespace ovoxel::remesh
