#include "raster/voxel_render.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "common/parallel.h"

namespace ovoxel {
namespace {

constexpr int kTile = 32;
constexpr int64_t kGrain = 8192;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Box {
    int32_t x0, y0, x1, y1;  // inclusive pixels, empty if x1 < x0
    float centreDepth;
};

constexpr Box kEmpty{0, 0, -1, -1, 0};

// Pixels that a box can touch: bounds of its corners in front of `near` and of its edges' crossings with that plane.
Box screenBox(const float* p, const double (&half)[3], const VoxelCamera& camera, int32_t height, int32_t width) {
    const double* m = camera.worldToCam;
    if (!(std::isfinite(p[0]) && std::isfinite(p[1]) && std::isfinite(p[2]))) return kEmpty;
    const double centre = m[8] * p[0] + m[9] * p[1] + m[10] * p[2] + m[11];
    if (centre <= camera.cullDepth) return kEmpty;
    double corner[8][3];
    double minZ = kInfinity, maxZ = -kInfinity;
    for (int k = 0; k < 8; ++k) {
        const double w[3] = {p[0] + (k & 1 ? half[0] : -half[0]), p[1] + (k & 2 ? half[1] : -half[1]),
                             p[2] + (k & 4 ? half[2] : -half[2])};
        for (int r = 0; r < 3; ++r) corner[k][r] = m[4 * r] * w[0] + m[4 * r + 1] * w[1] + m[4 * r + 2] * w[2] + m[4 * r + 3];
        minZ = std::min(minZ, corner[k][2]);
        maxZ = std::max(maxZ, corner[k][2]);
    }
    if (maxZ < camera.near || minZ > camera.far) return kEmpty;
    double lowX = kInfinity, lowY = kInfinity, highX = -kInfinity, highY = -kInfinity;
    const auto add = [&](double x, double y, double z) {
        const double column = camera.pixel[0] * x / z + camera.pixel[1] * y / z + camera.pixel[2];
        const double row = camera.pixel[3] * x / z + camera.pixel[4] * y / z + camera.pixel[5];
        lowX = std::min(lowX, column);
        highX = std::max(highX, column);
        lowY = std::min(lowY, row);
        highY = std::max(highY, row);
    };
    for (int k = 0; k < 8; ++k) {
        if (corner[k][2] >= camera.near) add(corner[k][0], corner[k][1], corner[k][2]);
        for (int bit = 1; bit < 8; bit <<= 1) {
            const double* a = corner[k];
            const double* b = corner[k ^ bit];
            if (a[2] < camera.near && b[2] >= camera.near) {
                const double t = (camera.near - a[2]) / (b[2] - a[2]);
                add(a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]), camera.near);
            }
        }
    }
    // One pixel of slack: the slab test decides, these bounds only have to contain every pixel it can accept.
    const auto clampTo = [](double v, int32_t high) { return static_cast<int32_t>(std::min<double>(std::max(v, -1.0), high)); };
    return {std::max(0, clampTo(std::floor(lowX) - 1, width)), std::max(0, clampTo(std::floor(lowY) - 1, height)),
            std::min(width - 1, clampTo(std::ceil(highX) + 1, width)),
            std::min(height - 1, clampTo(std::ceil(highY) + 1, height)), static_cast<float>(centre)};
}

}  // namespace

void renderVoxels(const float* position, int64_t numVoxels, const double (&half)[3], const VoxelCamera& camera,
                  int32_t height, int32_t width, int32_t* index, float* depth) {
    if (height == 0 || width == 0) return;
    std::vector<Box> boxes(numVoxels);
    const int32_t tilesX = (width + kTile - 1) / kTile, tilesY = (height + kTile - 1) / kTile;
    const int64_t numTiles = static_cast<int64_t>(tilesX) * tilesY;
    const std::unique_ptr<std::atomic<int64_t>[]> cursor(new std::atomic<int64_t>[numTiles]());
    const auto forEachTile = [&](const Box& box, auto&& visit) {
        if (box.x1 < box.x0 || box.y1 < box.y0) return;
        for (int32_t ty = box.y0 / kTile; ty <= box.y1 / kTile; ++ty)
            for (int32_t tx = box.x0 / kTile; tx <= box.x1 / kTile; ++tx) visit(static_cast<int64_t>(ty) * tilesX + tx);
    };
    parallelFor(numVoxels, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            boxes[i] = screenBox(position + 3 * i, half, camera, height, width);
            forEachTile(boxes[i], [&](int64_t tile) { cursor[tile].fetch_add(1, std::memory_order_relaxed); });
        }
    });
    std::vector<int64_t> start(numTiles + 1, 0);
    for (int64_t i = 0; i < numTiles; ++i) {
        start[i + 1] = start[i] + cursor[i].load();
        cursor[i].store(start[i]);
    }
    std::vector<int32_t> bins(start[numTiles]);
    parallelFor(numVoxels, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
            forEachTile(boxes[i], [&](int64_t tile) {
                bins[cursor[tile].fetch_add(1, std::memory_order_relaxed)] = static_cast<int32_t>(i);
            });
    });
    parallelFor(numTiles, 1, [&](int64_t begin, int64_t end) {
        std::vector<double> ray(kTile * kTile * 3), key(kTile * kTile);
        for (int64_t tile = begin; tile < end; ++tile) {
            const int32_t tileX = static_cast<int32_t>(tile % tilesX) * kTile;
            const int32_t tileY = static_cast<int32_t>(tile / tilesX) * kTile;
            const int32_t endX = std::min(width, tileX + kTile), endY = std::min(height, tileY + kTile);
            std::fill(key.begin(), key.end(), kInfinity);
            for (int32_t py = tileY; py < endY; ++py)
                for (int32_t px = tileX; px < endX; ++px) {
                    const int64_t local = static_cast<int64_t>(py - tileY) * kTile + px - tileX;
                    for (int a = 0; a < 3; ++a) {
                        const double d = camera.rayZ[a] + (px + 0.5) * camera.rayX[a] + (py + 0.5) * camera.rayY[a];
                        ray[3 * local + a] = d == 0 ? 1e30 : 1 / d;
                    }
                    index[static_cast<int64_t>(py) * width + px] = -1;
                    depth[static_cast<int64_t>(py) * width + px] = 0;
                }
            for (int64_t b = start[tile]; b < start[tile + 1]; ++b) {
                const int32_t voxel = bins[b];
                const Box& box = boxes[voxel];
                double low[3], high[3];
                for (int a = 0; a < 3; ++a) {
                    const double centre = position[3 * static_cast<int64_t>(voxel) + a] - camera.origin[a];
                    low[a] = centre - half[a];
                    high[a] = centre + half[a];
                }
                for (int32_t py = std::max(box.y0, tileY); py <= std::min(box.y1, endY - 1); ++py)
                    for (int32_t px = std::max(box.x0, tileX); px <= std::min(box.x1, endX - 1); ++px) {
                        const int64_t local = static_cast<int64_t>(py - tileY) * kTile + px - tileX;
                        const double* inverse = ray.data() + 3 * local;
                        double enter = camera.near, leave = camera.far;
                        for (int a = 0; a < 3; ++a) {
                            const double t0 = low[a] * inverse[a], t1 = high[a] * inverse[a];
                            enter = std::max(enter, std::min(t0, t1));
                            leave = std::min(leave, std::max(t0, t1));
                        }
                        if (!(enter < leave)) continue;
                        const double order = camera.orderByCentre ? box.centreDepth : enter;
                        const int64_t pixel = static_cast<int64_t>(py) * width + px;
                        if (order < key[local] || (order == key[local] && voxel < index[pixel])) {
                            key[local] = order;
                            index[pixel] = voxel;
                            depth[pixel] = static_cast<float>(enter);
                        }
                    }
            }
        }
    });
}

}  // namespace ovoxel
