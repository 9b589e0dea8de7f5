#include "raster/shade.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

#include "common/parallel.h"

namespace ovoxel {
namespace {

constexpr int64_t kGrain = 1 << 14;

// Triangle index of a rast pixel, -1 if empty; inverse of the encoding in rasterize.cpp.
int64_t triangleIndex(float value) {
    if (!(value > 0)) return -1;
    if (value <= 16777216.0f) return static_cast<int64_t>(value) - 1;
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return static_cast<int64_t>(bits) - 0x4a800000 - 1;
}

// Texel index in 0 .. size - 1, or -1 where a `zero` boundary has no texel.
int64_t texel(int64_t i, int64_t size, Boundary boundary) {
    if (i >= 0 && i < size) return i;
    switch (boundary) {
        case Boundary::kWrap: return (i % size + size) % size;
        case Boundary::kMirror: {
            const int64_t folded = (i % (2 * size) + 2 * size) % (2 * size);
            return std::min(folded, 2 * size - 1 - folded);
        }
        case Boundary::kClamp: return i < 0 ? 0 : size - 1;
        default: return -1;
    }
}

}  // namespace

void interpolateAttributes(const float* attr, int64_t numVertices, int64_t channels, int64_t batchStride,
                           const int32_t* tri, int64_t numTriangles, const float* rast, int64_t numPixels,
                           int64_t pixelsPerBatch, float* out) {
    parallelFor(numPixels, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p) {
            float* row = out + p * channels;
            const int64_t face = triangleIndex(rast[4 * p + 3]);
            if (face < 0) {
                std::fill(row, row + channels, 0.0f);
                continue;
            }
            if (face >= numTriangles)
                throw std::invalid_argument("tri has " + std::to_string(numTriangles) +
                                            " rows but rast shows triangle " + std::to_string(face));
            const float* table = attr + (batchStride ? p / pixelsPerBatch * batchStride : 0);
            const float* corner[3];
            for (int k = 0; k < 3; ++k) {
                const int64_t index = tri[3 * face + k];
                if (index < 0 || index >= numVertices)
                    throw std::invalid_argument("tri must hold indices in 0.." + std::to_string(numVertices - 1) +
                                                " for every visible triangle");
                corner[k] = table + index * channels;
            }
            const float u = rast[4 * p], v = rast[4 * p + 1], w = 1 - u - v;
            for (int64_t c = 0; c < channels; ++c) row[c] = u * corner[0][c] + v * corner[1][c] + w * corner[2][c];
        }
    });
}

void sampleTexture(const float* texture, int64_t height, int64_t width, int64_t channels, int64_t batchStride,
                   const float* uv, int64_t numPixels, int64_t pixelsPerBatch, bool linear, Boundary boundary,
                   float* out) {
    const auto coordinate = [&](float value, int64_t size) {
        if (!std::isfinite(value)) value = 0;
        if (boundary == Boundary::kClamp) value = std::min(2.0f, std::max(-1.0f, value));
        constexpr float kLimit = 1 << 30;  // keeps the integer conversion defined
        return std::min(kLimit, std::max(-kLimit, value * static_cast<float>(size)));
    };
    parallelFor(numPixels, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p) {
            const float* table = texture + (batchStride ? p / pixelsPerBatch * batchStride : 0);
            const float x = coordinate(uv[2 * p], width), y = coordinate(uv[2 * p + 1], height);
            float* row = out + p * channels;
            std::fill(row, row + channels, 0.0f);
            const float shift = linear ? 0.5f : 0.0f;
            const float floorX = std::floor(x - shift), floorY = std::floor(y - shift);
            const float weightX[2] = {1 - (x - shift - floorX), x - shift - floorX};
            const float weightY[2] = {1 - (y - shift - floorY), y - shift - floorY};
            const int taps = linear ? 2 : 1;
            for (int j = 0; j < taps; ++j) {
                const int64_t ty = texel(static_cast<int64_t>(floorY) + j, height, boundary);
                for (int i = 0; i < taps; ++i) {
                    const int64_t tx = texel(static_cast<int64_t>(floorX) + i, width, boundary);
                    if (tx < 0 || ty < 0) continue;
                    const float weight = linear ? weightX[i] * weightY[j] : 1.0f;
                    const float* source = table + (ty * width + tx) * channels;
                    for (int64_t c = 0; c < channels; ++c) row[c] += weight * source[c];
                }
            }
        }
    });
}

}  // namespace ovoxel
