#include "raster/voxel_render.h"

#include <atomic>

#include "common/parallel.h"

namespace ovoxel {

void renderVoxels(Workspace& workspace, const VoxelScene& scene, int32_t* index, float* depth) {
    const int64_t pixels = static_cast<int64_t>(scene.height) * scene.width;
    auto* keys = workspace.allocate<std::atomic<uint64_t>>(pixels);
    parallelFor(pixels, 1 << 16, [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p) new (keys + p) std::atomic<uint64_t>(kNoHit);
    });
    const auto keep = [keys](int64_t pixel, uint64_t key) {
        uint64_t held = keys[pixel].load(std::memory_order_relaxed);
        while (key < held && !keys[pixel].compare_exchange_weak(held, key, std::memory_order_relaxed)) {
        }
    };
    parallelFor(scene.n, 256, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const PixelBounds box = boundBox(scene, i);
            for (int32_t py = box.y0; py <= box.y1; ++py)
                for (int32_t px = box.x0; px <= box.x1; ++px) offer(scene, i, box.centreDepth, px, py, keep);
        }
    });
    parallelFor(pixels, 1 << 14, [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p)
            resolvePixel(scene, p, keys[p].load(std::memory_order_relaxed), index, depth);
    });
    workspace.release(keys);
}

}  // namespace ovoxel
