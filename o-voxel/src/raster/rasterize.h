// Triangle rasteriser on CPU threads and CUDA: clip space in, (u, v, z/w, id) per pixel out.
//
// Coverage is decided on vertices snapped to 1/256 pixel with 64-bit integer edge functions, so it is exact and the same
// everywhere. Barycentrics and depth come from the unsnapped positions in double. The bodies are in setup.h, fragment.h
// and barycentric_grad.h.
#pragma once

#include <cstdint>

#include "common/device.h"
#include "common/host_device.h"
#include "raster/setup.h"

namespace ovoxel {

struct RasterInput {
    const Corner* pos;  // [B, V] clip space, or [V] if shared
    bool posShared;
    int64_t batch;
    int64_t numVertices;
    const int32_t* tri;  // [F, 3]
    int64_t numTriangles;
    int32_t height;
    int32_t width;
    const float* peel;      // [B, H, W]: only fragments with z/w strictly greater are kept; null: all
    const int32_t* ranges;  // host memory, [B, 2]: first triangle and count for each item; null: all triangles

    OVOXEL_HD const Corner* corners(int64_t b) const { return posShared ? pos : pos + b * numVertices; }
};

// Rows first .. first + count - 1 of the index buffer.
struct TriangleRange {
    int64_t first, count;
};

inline TriangleRange rangeOf(const RasterInput& in, int64_t b) {
    if (!in.ranges) return {0, in.numTriangles};
    return {in.ranges[2 * b], in.ranges[2 * b + 1]};
}

// Writes rast [B, H, W, 4] = (u, v, z/w, index + 1) and, if not null, db [B, H, W, 4] = (du/dX, du/dY, dv/dX, dv/dY);
// zeros where nothing is drawn. The nearest z/w (as float32) wins, of equal ones the larger index.
void rasterizeOnHost(const RasterInput& input, float* rast, float* db);
void rasterizeOnDevice(Workspace& workspace, const RasterInput& input, float* rast, float* db);

// Adds to gradPos (shaped like pos) the gradient of a loss through (u, v, z/w) and db; gradRast, gradDb [B, H, W, 4] or null.
// In a fixed order on the host, with atomic adds on the device.
void rasterizeGradOnHost(const RasterInput& input, const float* rast, const float* gradRast, const float* gradDb,
                         float* gradPos);
void rasterizeGradOnDevice(Workspace& workspace, const RasterInput& input, const float* rast, const float* gradRast,
                           const float* gradDb, float* gradPos);

}  // namespace ovoxel
