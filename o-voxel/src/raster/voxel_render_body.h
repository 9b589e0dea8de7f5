// First-hit rendering of axis-aligned boxes, per box and per pixel; shared by CPU threads and CUDA.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/host_device.h"

namespace ovoxel {

struct VoxelCamera {
    double origin[3];       // world position of the camera
    double rayX[3];         // world ray of pixel (px, py): rayZ + (px + 0.5) rayX + (py + 0.5) rayY,
    double rayY[3];         //   scaled so that the ray parameter is the camera depth
    double rayZ[3];
    double worldToCam[12];  // [3, 4] row-major
    double pixel[6];        // column = p0 x/z + p1 y/z + p2, row = p3 x/z + p4 y/z + p5
    double near, far;       // interval of camera depth that counts
    double cullDepth;       // boxes whose centre is not deeper are left out
    bool orderByCentre;     // first hit by depth of box centre (published); else by depth of entry
};

struct VoxelScene {
    const float* position;  // [n, 3] box centres, world
    int64_t n;
    double half[3];  // half the edge lengths
    VoxelCamera camera;
    int32_t height, width;
};

struct PixelBounds {
    int32_t x0, y0, x1, y1;  // inclusive, empty if x1 < x0 or y1 < y0
    float centreDepth;

    OVOXEL_HD int64_t area() const {
        return x1 < x0 || y1 < y0 ? 0 : (int64_t{x1} - x0 + 1) * (int64_t{y1} - y0 + 1);
    }
};

OVOXEL_HD inline double lesser(double a, double b) { return b < a ? b : a; }
OVOXEL_HD inline double greater(double a, double b) { return a < b ? b : a; }

// Bounds of a box on the image: of its corners in front of `near` and of its edges' crossings with that plane.
struct ScreenBounds {
    double lowX, lowY, highX, highY;

    OVOXEL_HD void add(const VoxelCamera& camera, double x, double y, double z) {
        const double scale = 1.0 / z;
        const double column = (camera.pixel[0] * x + camera.pixel[1] * y) * scale + camera.pixel[2];
        const double row = (camera.pixel[3] * x + camera.pixel[4] * y) * scale + camera.pixel[5];
        lowX = lesser(lowX, column);
        highX = greater(highX, column);
        lowY = lesser(lowY, row);
        highY = greater(highY, row);
    }
};

// Pixels whose centre ray may meet a box. Only rounding has to be allowed for: the slab test decides.
OVOXEL_HD inline PixelBounds boundBox(const VoxelScene& scene, int64_t i) {
    const VoxelCamera& camera = scene.camera;
    const float* p = scene.position + 3 * i;
    const PixelBounds empty{0, 0, -1, -1, 0.0f};
    if (!(fabsf(p[0]) < 3e38f && fabsf(p[1]) < 3e38f && fabsf(p[2]) < 3e38f)) return empty;  // true for NaN too
    const double* m = camera.worldToCam;
    double centre[3], edge[3][3];  // edge[a]: half edge along world axis a, in camera space
    for (int r = 0; r < 3; ++r) {
        centre[r] = m[4 * r] * p[0] + m[4 * r + 1] * p[1] + m[4 * r + 2] * p[2] + m[4 * r + 3];
        for (int a = 0; a < 3; ++a) edge[a][r] = m[4 * r + a] * scene.half[a];
    }
    if (centre[2] <= camera.cullDepth) return empty;
    const double reach = fabs(edge[0][2]) + fabs(edge[1][2]) + fabs(edge[2][2]);
    if (centre[2] + reach < camera.near || centre[2] - reach > camera.far) return empty;
    ScreenBounds bounds{1e300, 1e300, -1e300, -1e300};
    for (int k = 0; k < 8; ++k) {
        double corner[3];
        for (int r = 0; r < 3; ++r)
            corner[r] = centre[r] + (k & 1 ? edge[0][r] : -edge[0][r]) + (k & 2 ? edge[1][r] : -edge[1][r]) +
                        (k & 4 ? edge[2][r] : -edge[2][r]);
        if (corner[2] >= camera.near) {
            bounds.add(camera, corner[0], corner[1], corner[2]);
            continue;
        }
        for (int a = 0; a < 3; ++a) {  // edges from this corner, behind the near plane, to one in front of it
            const double way = k >> a & 1 ? -2.0 : 2.0;
            const double rise = way * edge[a][2];
            if (!(corner[2] + rise >= camera.near)) continue;
            const double t = (camera.near - corner[2]) / rise * way;
            bounds.add(camera, corner[0] + t * edge[a][0], corner[1] + t * edge[a][1], camera.near);
        }
    }
    constexpr double kSlack = 0.01;  // pixels
    const auto first = [](double low) { return static_cast<int32_t>(greater(ceil(low - 0.5 - kSlack), 0.0)); };
    const auto last = [](double high, int32_t size) {
        return static_cast<int32_t>(lesser(floor(greater(high, -1.0) - 0.5 + kSlack), size - 1.0));
    };
    if (!(bounds.lowX < scene.width && bounds.lowY < scene.height)) return empty;
    return {first(bounds.lowX), first(bounds.lowY), last(bounds.highX, scene.width), last(bounds.highY, scene.height),
            static_cast<float>(centre[2])};
}

// Camera depth at which the ray of a pixel enters box i (at least `near`); false if it misses.
OVOXEL_HD inline bool enterBox(const VoxelScene& scene, int64_t i, int32_t px, int32_t py, double* depth) {
    const VoxelCamera& camera = scene.camera;
    double enter = camera.near, leave = camera.far;
    for (int a = 0; a < 3; ++a) {
        const double direction = camera.rayZ[a] + (px + 0.5) * camera.rayX[a] + (py + 0.5) * camera.rayY[a];
        const double inverse = direction == 0 ? 1e30 : 1.0 / direction;
        const double centre = scene.position[3 * i + a] - camera.origin[a];
        const double t0 = (centre - scene.half[a]) * inverse, t1 = (centre + scene.half[a]) * inverse;
        enter = greater(enter, lesser(t0, t1));
        leave = lesser(leave, greater(t0, t1));
    }
    *depth = enter;
    return enter < leave;
}

// Hits of one pixel compare by float32 depth, then by row: the smallest key is seen.
constexpr uint64_t kNoHit = ~uint64_t{0};

OVOXEL_HD inline uint64_t hitKey(float depth, int64_t row) {
    uint32_t bits;
    memcpy(&bits, &depth, sizeof(bits));
    bits ^= bits >> 31 ? 0xffffffffu : 0x80000000u;  // the order of the floats, negative ones too
    return static_cast<uint64_t>(bits) << 32 | static_cast<uint32_t>(row);
}

// Offers box i to a pixel: keep(pixel, key) takes the smaller key.
template <class Keep>
OVOXEL_HD inline void offer(const VoxelScene& scene, int64_t i, float centreDepth, int32_t px, int32_t py, Keep&& keep) {
    double enter;
    if (!enterBox(scene, i, px, py, &enter)) return;
    keep(static_cast<int64_t>(py) * scene.width + px,
         hitKey(scene.camera.orderByCentre ? centreDepth : static_cast<float>(enter), i));
}

// What a pixel shows: row of the box, -1 none, and the depth of entry, 0 none.
OVOXEL_HD inline void resolvePixel(const VoxelScene& scene, int64_t pixel, uint64_t key, int32_t* index, float* depth) {
    index[pixel] = -1;
    depth[pixel] = 0.0f;
    if (key == kNoHit) return;
    const auto row = static_cast<int64_t>(key & 0xffffffffu);
    double enter;
    enterBox(scene, row, static_cast<int32_t>(pixel % scene.width), static_cast<int32_t>(pixel / scene.width), &enter);
    index[pixel] = static_cast<int32_t>(row);
    depth[pixel] = static_cast<float>(enter);
}

}  // namespace ovoxel
