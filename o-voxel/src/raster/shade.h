// Per-pixel look-ups after rasterisation, on CPU threads: vertex attributes and textures.
#pragma once

#include <cstdint>

namespace ovoxel {

// out [P, C] = u a0 + v a1 + (1 - u - v) a2 for rast [P, 4]; zeros where rast is empty. `attr` is [V, C], or [B, V, C]
// with `pixelsPerBatch` pixels for each item (batchStride = V * C; 0: shared). Throws std::invalid_argument if a visible
// triangle or one of its indices is out of range.
void interpolateAttributes(const float* attr, int64_t numVertices, int64_t channels, int64_t batchStride,
                           const int32_t* tri, int64_t numTriangles, const float* rast, int64_t numPixels,
                           int64_t pixelsPerBatch, float* out);

enum class Boundary { kWrap, kClamp, kMirror, kZero };

// out [P, C]: texture [H, W, C] (or [B, H, W, C], batchStride = H * W * C) at uv [P, 2], texel centres at (i + 0.5) / size.
void sampleTexture(const float* texture, int64_t height, int64_t width, int64_t channels, int64_t batchStride,
                   const float* uv, int64_t numPixels, int64_t pixelsPerBatch, bool linear, Boundary boundary,
                   float* out);

}  // namespace ovoxel
