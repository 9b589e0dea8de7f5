// Texture look-up with wrap modes and mip levels, for 8-bit images of any size.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"

namespace ovoxel {

enum Filter : int32_t { kNearest = 0, kLinear = 1, kNearestMip = 2 };  // kNearestMip: nearest only where magnified
enum Wrap : int32_t { kRepeat = 0, kClamp = 1, kMirror = 2, kClip = 3 };  // clip: zero outside the image
constexpr int kMaxLevels = 32;

struct TextureView {
    const uint8_t* pixels[kMaxLevels];  // [height, width, channels], row 0 first
    int64_t height[kMaxLevels], width[kMaxLevels];
    int numLevels;  // 1: base image only
    int channels;   // 1 or 3
    int32_t filter, wrapU, wrapV;
    const float* decode;  // [256] value of each byte
};

// Index inside [0, n), or -1 where the image is clipped.
OVOXEL_HD inline int64_t wrapIndex(int64_t i, int64_t n, int32_t wrap) {
    if (wrap == kClamp) return i < 0 ? 0 : i >= n ? n - 1 : i;
    if (wrap == kClip) return i < 0 || i >= n ? -1 : i;
    const int64_t period = wrap == kMirror ? 2 * n : n;
    int64_t j = i % period;
    if (j < 0) j += period;
    return j < n ? j : 2 * n - 1 - j;
}

OVOXEL_HD inline void addTexel(const TextureView& t, int level, int64_t x, int64_t y, double weight, double out[3]) {
    x = wrapIndex(x, t.width[level], t.wrapU);
    y = wrapIndex(y, t.height[level], t.wrapV);
    if (x < 0 || y < 0) return;
    const uint8_t* p = t.pixels[level] + (y * t.width[level] + x) * t.channels;
    for (int c = 0; c < t.channels; ++c) out[c] += weight * static_cast<double>(t.decode[p[c]]);
}

OVOXEL_HD inline void addBilinear(const TextureView& t, int level, double u, double v, double weight, double out[3]) {
    const double x = u * static_cast<double>(t.width[level]) - 0.5, y = v * static_cast<double>(t.height[level]) - 0.5;
    const double x0 = std::floor(x), y0 = std::floor(y), wx = x - x0, wy = y - y0;
    const int64_t i = static_cast<int64_t>(x0), j = static_cast<int64_t>(y0);
    addTexel(t, level, i, j, weight * (1 - wx) * (1 - wy), out);
    addTexel(t, level, i + 1, j, weight * wx * (1 - wy), out);
    addTexel(t, level, i, j + 1, weight * (1 - wx) * wy, out);
    addTexel(t, level, i + 1, j + 1, weight * wx * wy, out);
}

OVOXEL_HD inline void addNearest(const TextureView& t, double u, double v, double out[3]) {
    addTexel(t, 0, static_cast<int64_t>(std::floor(u * static_cast<double>(t.width[0]))),
             static_cast<int64_t>(std::floor(v * static_cast<double>(t.height[0]))), 1.0, out);
}

// Samples at (u, v), v measured downward from row 0. `footprint` is the size of the sampled area in UV units; it picks
// the mip level, moved by `levelOffset`.
OVOXEL_HD inline void sampleTexture(const TextureView& t, double u, double v, double footprint, double levelOffset,
                                    double out[3]) {
    out[0] = out[1] = out[2] = 0;
    if (t.filter == kNearest) {
        addNearest(t, u, v, out);
        return;
    }
    const double side = std::sqrt(static_cast<double>(t.width[0]) * static_cast<double>(t.height[0]));
    const double level = std::log2(footprint * side) + levelOffset;
    const int last = t.numLevels - 1;
    if (!std::isfinite(level) || level <= 0 || last == 0) {
        if (t.filter == kNearestMip) return addNearest(t, u, v, out);
        addBilinear(t, 0, u, v, 1.0, out);
    } else if (level >= last) {
        addBilinear(t, last, u, v, 1.0, out);
    } else {
        const int lower = static_cast<int>(level);
        const double f = level - lower;
        addBilinear(t, lower, u, v, 1 - f, out);
        if (f > 0) addBilinear(t, lower + 1, u, v, f, out);
    }
}

}  // namespace ovoxel
