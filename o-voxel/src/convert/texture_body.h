// Texture look-up with wrap modes and mip levels, for 8-bit images of any size.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "convert/grid_body.h"

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

// Binary logarithm from basic operations only, so that it is the same on every machine; error about 1e-15. Minus
// infinity for zero and for subnormal numbers.
OVOXEL_HD inline double log2Portable(double x) {
    if (!(x >= 2.2250738585072014e-308)) return x >= 0 ? -HUGE_VAL : x - x;
    if (!(x <= 1.7976931348623157e308)) return x;
    uint64_t bits;
    std::memcpy(&bits, &x, 8);
    int exponent = static_cast<int>(bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffffull) | 0x3ff0000000000000ull;
    double m;
    std::memcpy(&m, &bits, 8);  // [1, 2)
    if (m > 1.4142135623730951) {
        m *= 0.5;
        ++exponent;
    }
    const double s = (m - 1) / (m + 1), s2 = s * s;  // log m = 2 (s + s^3/3 + s^5/5 + ...), |s| < 0.172
    double sum = 0;
    for (int k = 21; k >= 1; k -= 2) sum = sum * s2 + 1.0 / k;
    return exponent + 2 * s * sum * 1.4426950408889634;
}

// Index inside [0, n), or -1 where the image is clipped.
OVOXEL_HD inline int64_t wrapIndex(int64_t i, int64_t n, int32_t wrap) {
    if (i >= 0 && i < n) return i;
    if (wrap == kClamp) return i < 0 ? 0 : n - 1;
    if (wrap == kClip) return -1;
    const int64_t period = wrap == kMirror ? 2 * n : n;
    int64_t j = i % period;
    if (j < 0) j += period;
    return j < n ? j : 2 * n - 1 - j;
}

// A colour under construction, in registers: bytes may alias anything, so sums in memory would be reloaded each time.
struct TexelSum {
    double r, g, b;

    // Adds the texel at p, null where the image is clipped.
    OVOXEL_HD void add(const float* decode, int channels, const uint8_t* p, double weight) {
        if (!p) return;
        r += weight * static_cast<double>(decode[p[0]]);
        if (channels == 1) return;
        g += weight * static_cast<double>(decode[p[1]]);
        b += weight * static_cast<double>(decode[p[2]]);
    }
};

// x and y are wrapped already.
OVOXEL_HD inline const uint8_t* texelAt(const TextureView& t, int level, int64_t x, int64_t y) {
    return x < 0 || y < 0 ? nullptr : t.pixels[level] + (y * t.width[level] + x) * t.channels;
}

OVOXEL_HD inline void addBilinear(const TextureView& t, int level, double u, double v, double weight,
                                   TexelSum& out) {
    const int64_t width = t.width[level], height = t.height[level];
    const double x = u * static_cast<double>(width) - 0.5, y = v * static_cast<double>(height) - 0.5;
    const int64_t i = floorIndex(x), j = floorIndex(y);
    const double wx = x - static_cast<double>(i), wy = y - static_cast<double>(j);
    const uint8_t* p[4];
    if (i >= 0 && j >= 0 && i + 1 < width && j + 1 < height) {  // the common case needs no wrapping
        const int64_t stride = t.channels;
        p[0] = t.pixels[level] + (j * width + i) * stride;
        p[1] = p[0] + stride;
        p[2] = p[0] + width * stride;
        p[3] = p[2] + stride;
    } else {
        const int64_t x0 = wrapIndex(i, width, t.wrapU), x1 = wrapIndex(i + 1, width, t.wrapU);
        const int64_t y0 = wrapIndex(j, height, t.wrapV), y1 = wrapIndex(j + 1, height, t.wrapV);
        p[0] = texelAt(t, level, x0, y0), p[1] = texelAt(t, level, x1, y0);
        p[2] = texelAt(t, level, x0, y1), p[3] = texelAt(t, level, x1, y1);
    }
    const float* decode = t.decode;
    const int channels = t.channels;
    TexelSum sum = out;
    sum.add(decode, channels, p[0], weight * (1 - wx) * (1 - wy));
    sum.add(decode, channels, p[1], weight * wx * (1 - wy));
    sum.add(decode, channels, p[2], weight * (1 - wx) * wy);
    sum.add(decode, channels, p[3], weight * wx * wy);
    out = sum;
}

OVOXEL_HD inline void addNearest(const TextureView& t, double u, double v, TexelSum& out) {
    const int64_t x = floorIndex(u * static_cast<double>(t.width[0]));
    const int64_t y = floorIndex(v * static_cast<double>(t.height[0]));
    const uint8_t* p = texelAt(t, 0, wrapIndex(x, t.width[0], t.wrapU), wrapIndex(y, t.height[0], t.wrapV));
    out.add(t.decode, t.channels, p, 1.0);
}

// Mip level at which a sampled area of size `footprint` (UV units) is about one texel, moved by `offset`; 0 where the
// image is magnified.
OVOXEL_HD_CALL inline double mipLevel(const TextureView& t, double footprint, double offset) {
    if (t.filter == kNearest) return 0;
    const double side = std::sqrt(static_cast<double>(t.width[0]) * static_cast<double>(t.height[0]));
    const double level = log2Portable(footprint * side) + offset;
    return level > 0 && level <= 1.7976931348623157e308 ? level : 0;
}

// Samples at (u, v), v measured downward from row 0, at a level from mipLevel.
OVOXEL_HD_CALL inline TexelSum sampleTexture(const TextureView& t, double u, double v, double level) {
    TexelSum out = {0, 0, 0};
    const int last = t.numLevels - 1;
    if (t.filter == kNearest || (t.filter == kNearestMip && (level <= 0 || last == 0))) {
        addNearest(t, u, v, out);
    } else if (level <= 0 || last == 0) {
        addBilinear(t, 0, u, v, 1.0, out);
    } else if (level >= last) {
        addBilinear(t, last, u, v, 1.0, out);
    } else {
        const int lower = static_cast<int>(level);
        const double f = level - lower;
        addBilinear(t, lower, u, v, 1 - f, out);
        if (f > 0) addBilinear(t, lower + 1, u, v, f, out);
    }
    return out;
}

}  // namespace ovoxel
