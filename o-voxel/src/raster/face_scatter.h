// Sums over the pixels of each triangle, then over the triangles of each vertex, in a fixed order on CPU threads.
#pragma once

#include <cstdint>
#include <vector>

#include "common/parallel.h"
#include "raster/fragment.h"

namespace ovoxel {

// Adds to out [numVertices, channels] what perPixel(pixel, face, corners) adds to `corners` [3, channels] (double) for
// every covered pixel of rast [numPixels, 4]. Pixels whose triangle is out of range are left out.
template <class PerPixel>
void scatterToCorners(const float* rast, int64_t numPixels, const int32_t* tri, int64_t numTriangles,
                      int64_t numVertices, int64_t channels, float* out, PerPixel&& perPixel) {
    // Pixels sorted by triangle: count, prefix sum, fill.
    std::vector<int64_t> last(numTriangles + 1, 0);
    for (int64_t p = 0; p < numPixels; ++p) {
        const int64_t face = decodeId(rast[4 * p + 3]);
        if (face >= 0 && face < numTriangles) ++last[face];
    }
    std::vector<int64_t> faces, first;
    int64_t total = 0;
    for (int64_t f = 0; f < numTriangles; ++f) {
        const int64_t count = last[f];
        if (count) {
            faces.push_back(f);
            first.push_back(total);
        }
        last[f] = total;
        total += count;
    }
    first.push_back(total);
    std::vector<int64_t> pixels(total);
    for (int64_t p = 0; p < numPixels; ++p) {
        const int64_t face = decodeId(rast[4 * p + 3]);
        if (face >= 0 && face < numTriangles) pixels[last[face]++] = p;
    }

    const auto numVisible = static_cast<int64_t>(faces.size());
    std::vector<float> sums(numVisible * 3 * channels);
    parallelFor(numVisible, 256, [&](int64_t begin, int64_t end) {
        std::vector<double> corners(3 * channels);
        for (int64_t i = begin; i < end; ++i) {
            std::fill(corners.begin(), corners.end(), 0.0);
            for (int64_t k = first[i]; k < first[i + 1]; ++k) perPixel(pixels[k], faces[i], corners.data());
            for (int64_t c = 0; c < 3 * channels; ++c) sums[i * 3 * channels + c] = static_cast<float>(corners[c]);
        }
    });
    for (int64_t i = 0; i < numVisible; ++i)
        for (int k = 0; k < 3; ++k) {
            const int32_t vertex = tri[3 * faces[i] + k];
            if (vertex < 0 || vertex >= numVertices) continue;
            const float* from = sums.data() + (3 * i + k) * channels;
            float* to = out + vertex * channels;
            for (int64_t c = 0; c < channels; ++c) to[c] += from[c];
        }
}

}  // namespace ovoxel
