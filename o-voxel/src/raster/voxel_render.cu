#include "raster/voxel_render.h"

#include <algorithm>

#include "common/launch.h"

namespace ovoxel {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kLarge = 64;  // pixels from which a box is left to whole blocks
constexpr unsigned kStrips = 16;

struct KeepSmallest {
    unsigned long long* keys;
    __device__ void operator()(int64_t pixel, uint64_t key) const {
        if (key < keys[pixel]) atomicMin(keys + pixel, static_cast<unsigned long long>(key));  // a stale read is larger
    }
};

// One thread a box; boxes that may cover many pixels go to a list.
__global__ void __launch_bounds__(kThreads)
    boxKernel(VoxelScene scene, KeepSmallest keep, uint32_t* large, uint32_t* numLarge) {
    const int64_t i = int64_t{kThreads} * blockIdx.x + threadIdx.x;
    if (i >= scene.n) return;
    const PixelBounds box = boundBox(scene, i);
    if (box.area() > kLarge) {
        large[atomicAdd(numLarge, 1u)] = static_cast<uint32_t>(i);
        return;
    }
    for (int32_t py = box.y0; py <= box.y1; ++py)
        for (int32_t px = box.x0; px <= box.x1; ++px) offer(scene, i, box.centreDepth, px, py, keep);
}

// Blocks share the listed boxes; strip s of a box has its rows y0 + s, y0 + s + kStrips, ...
__global__ void __launch_bounds__(kThreads)
    largeKernel(VoxelScene scene, KeepSmallest keep, const uint32_t* large, const uint32_t* numLarge) {
    for (uint32_t entry = blockIdx.x; entry < *numLarge; entry += gridDim.x) {
        const int64_t i = large[entry];
        const PixelBounds box = boundBox(scene, i);
        const int64_t columns = int64_t{box.x1} - box.x0 + 1;
        const int64_t rows = (int64_t{box.y1} - box.y0 - blockIdx.y + kStrips) / kStrips;
        for (int64_t p = threadIdx.x; p < rows * columns; p += kThreads)
            offer(scene, i, box.centreDepth, box.x0 + static_cast<int32_t>(p % columns),
                  box.y0 + static_cast<int32_t>(blockIdx.y + p / columns * kStrips), keep);
    }
}

}  // namespace

void renderVoxelsOnDevice(Workspace& workspace, const VoxelScene& scene, int32_t* index, float* depth) {
    const int64_t pixels = static_cast<int64_t>(scene.height) * scene.width;
    if (pixels == 0) return;
    auto* keys = workspace.allocate<unsigned long long>(pixels);
    checkCuda(cudaMemsetAsync(keys, 0xff, sizeof(*keys) * pixels, workspace.stream()), "memset");
    if (scene.n > 0) {
        uint32_t* large = workspace.allocate<uint32_t>(scene.n + 1);
        uint32_t* numLarge = large + scene.n;
        fillZero(workspace, numLarge, 1);
        const auto blocks = static_cast<unsigned>((scene.n + kThreads - 1) / kThreads);
        boxKernel<<<blocks, kThreads, 0, workspace.stream()>>>(scene, {keys}, large, numLarge);
        checkLaunch("boxes");
        const dim3 shared(std::min(blocks * kThreads, 1024u), kStrips);
        largeKernel<<<shared, kThreads, 0, workspace.stream()>>>(scene, {keys}, large, numLarge);
        checkLaunch("large boxes");
        workspace.release(large);
    }
    launchFor(workspace, pixels, [=] __device__(int64_t p) { resolvePixel(scene, p, keys[p], index, depth); }, "pixels");
    workspace.release(keys);
}

}  // namespace ovoxel
