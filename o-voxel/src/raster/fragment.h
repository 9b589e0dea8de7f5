// What a pixel keeps while triangles are drawn, and what it becomes: (u, v, z/w, id) and their derivatives.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/host_device.h"
#include "raster/setup.h"

namespace ovoxel {

// The smallest key wins: nearest depth first, of equal ones the larger index, whatever the order of drawing.
constexpr uint64_t kEmptyKey = ~uint64_t{0};

OVOXEL_HD inline uint32_t floatBits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

OVOXEL_HD inline float bitsFloat(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

OVOXEL_HD inline uint64_t fragmentKey(float z, int32_t index) {
    const uint32_t bits = floatBits(z), ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return static_cast<uint64_t>(ordered) << 32 | ~static_cast<uint32_t>(index);
}

OVOXEL_HD inline float keyDepth(uint64_t key) {
    const uint32_t ordered = static_cast<uint32_t>(key >> 32);
    return bitsFloat(ordered & 0x80000000u ? ordered & 0x7fffffffu : ~ordered);
}

OVOXEL_HD inline int32_t keyIndex(uint64_t key) { return static_cast<int32_t>(~static_cast<uint32_t>(key)); }

// Triangle ids are floats: index + 1, and past 2^24 the floats of consecutive bit patterns (0x4a800000 + id).
OVOXEL_HD inline float encodeId(int32_t index) {
    const uint32_t id = static_cast<uint32_t>(index) + 1;
    return id <= (1u << 24) ? static_cast<float>(id) : bitsFloat(0x4a800000u + id);
}

// -1 if empty.
OVOXEL_HD inline int64_t decodeId(float value) {
    if (!(value > 0)) return -1;
    if (value <= 16777216.0f) return static_cast<int64_t>(value) - 1;
    return static_cast<int64_t>(floatBits(value)) - 0x4a800000 - 1;
}

struct PixelCentre {
    double x, y;  // NDC
    OVOXEL_HD PixelCentre(int32_t px, int32_t py, const Viewport& view)
        : x((px + 0.5) * view.perPixelX - 1), y((py + 0.5) * view.perPixelY - 1) {}
};

// The three edge functions of a triangle at a pixel centre: a_k = cross(p_i, p_j) for corners moved to the centre.
struct EdgeValues {
    double x[3], y[3];  // corners p_k = (x_k - nx w_k, y_k - ny w_k)
    double a[3], sum;

    OVOXEL_HD EdgeValues(const ClipVertex (&v)[3], PixelCentre n) {
        for (int k = 0; k < 3; ++k) {
            x[k] = v[k].x - n.x * v[k].w;
            y[k] = v[k].y - n.y * v[k].w;
        }
        a[0] = x[1] * y[2] - x[2] * y[1];
        a[1] = x[2] * y[0] - x[0] * y[2];
        a[2] = x[0] * y[1] - x[1] * y[0];
        sum = a[0] + a[1] + a[2];
    }

    // Slope of a_k per NDC unit.
    OVOXEL_HD double slopeX(int k, const ClipVertex (&v)[3]) const {
        const int i = (k + 1) % 3, j = (k + 2) % 3;
        return v[j].w * y[i] - v[i].w * y[j];
    }
    OVOXEL_HD double slopeY(int k, const ClipVertex (&v)[3]) const {
        const int i = (k + 1) % 3, j = (k + 2) % 3;
        return v[i].w * x[j] - v[j].w * x[i];
    }
};

// rast (4) = (u, v, z/w, id), u and v in [0, 1] with a sum of at most 1.
OVOXEL_HD inline void resolvePixel(const EdgeValues& e, float z, int32_t index, float* rast) {
    const double inverse = 1 / e.sum;
    double u = e.a[0] * inverse, v = e.a[1] * inverse;
    if (!(fabs(u) + fabs(v) < 1e300)) u = v = 1.0 / 3;
    u = smaller(1.0, larger(0.0, u));
    v = smaller(1.0, larger(0.0, v));
    if (u + v > 1) {
        const double scale = 1 / (u + v);
        u *= scale;
        v *= scale;
    }
    rast[0] = static_cast<float>(u);
    rast[1] = static_cast<float>(v);
    rast[2] = z;
    rast[3] = encodeId(index);
}

// db (4) = (du/dX, du/dY, dv/dX, dv/dY) per pixel; 0 where the triangle has no area.
OVOXEL_HD inline void resolveDerivatives(const EdgeValues& e, const ClipVertex (&v)[3], const Viewport& view,
                                         float* db) {
    const double sx[3] = {e.slopeX(0, v), e.slopeX(1, v), e.slopeX(2, v)};
    const double sy[3] = {e.slopeY(0, v), e.slopeY(1, v), e.slopeY(2, v)};
    const double sumX = sx[0] + sx[1] + sx[2], sumY = sy[0] + sy[1] + sy[2];
    const double inverse = 1 / e.sum;
    for (int k = 0; k < 2; ++k) {
        const double weight = e.a[k] * inverse;
        const double dx = (sx[k] - weight * sumX) * inverse * view.perPixelX;
        const double dy = (sy[k] - weight * sumY) * inverse * view.perPixelY;
        const bool finite = fabs(dx) + fabs(dy) < 3e38;
        db[2 * k] = finite ? static_cast<float>(dx) : 0.0f;
        db[2 * k + 1] = finite ? static_cast<float>(dy) : 0.0f;
    }
}

}  // namespace ovoxel
