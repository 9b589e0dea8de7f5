// Texture look-up over a mip chain, the chain itself, and the gradients of both.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/device.h"
#include "common/host_device.h"
#include "raster/pack.h"
#include "raster/setup.h"

namespace ovoxel {

enum class Boundary { kWrap, kClamp, kMirror, kZero };
enum class Filter { kNearest, kLinear, kLinearMipNearest, kLinearMipLinear };

constexpr int kMaxLevels = 17;

// Base-2 logarithm of a positive finite number with the same bits on every machine: exponent and an atanh series.
OVOXEL_HD inline double log2Portable(double value) {
    int exponent;
    double m = frexp(value, &exponent);  // [0.5, 1)
    if (m < 0.70710678118654752440) {
        m *= 2;
        --exponent;
    }
    const double t = (m - 1) / (m + 1), t2 = t * t;  // |t| <= 0.1716, the series' remainder is below 1e-15
    double sum = 0;
    for (int k = 19; k >= 1; k -= 2) sum = sum * t2 + 1.0 / k;
    return exponent + 2 * t * sum * 1.44269504088896340736;
}

// Texel index in 0 .. size - 1, or -1 where a `zero` boundary has no texel.
OVOXEL_HD inline int32_t texelIndex(int32_t i, int32_t size, Boundary boundary) {
    if (i >= 0 && i < size) return i;
    switch (boundary) {
        case Boundary::kWrap: {
            const int32_t rest = i % size;
            return rest < 0 ? rest + size : rest;
        }
        case Boundary::kMirror: {
            int32_t folded = i % (2 * size);
            if (folded < 0) folded += 2 * size;
            return smaller(folded, 2 * size - 1 - folded);
        }
        case Boundary::kClamp: return i < 0 ? 0 : size - 1;
        default: return -1;
    }
}

// The four texels around a position (one for nearest): offsets into the level in texels, -1 for none.
struct Taps {
    int64_t offset[4];
    float fx, fy;
    bool movesX, movesY;  // false where the coordinate is bounded or not finite, so that it has no gradient
};

struct TextureCall {
    const float* level[kMaxLevels];  // [B or 1, H_l, W_l, C]
    int32_t height[kMaxLevels], width[kMaxLevels];
    int32_t numLevels;
    bool batched;
    int64_t channels;
    const float* uv;    // [P, 2]
    const float* uvDa;  // [P, 4] or null
    const float* bias;  // [P] or null
    int64_t numPixels, pixelsPerBatch;
    Filter filter;
    Boundary boundary;

    OVOXEL_HD int64_t levelStart(int64_t pixel, int l) const {
        return batched ? pixel / pixelsPerBatch * height[l] * width[l] * channels : 0;
    }

    OVOXEL_HD float coordinate(float value, int32_t size, bool& moves) const {
        moves = fabsf(value) <= 3.4028234e38f;
        if (!moves) value = 0;
        if (boundary == Boundary::kClamp) {
            moves = moves && value >= -1.0f && value <= 2.0f;
            value = smaller(2.0f, larger(-1.0f, value));
        }
        constexpr float kLimit = 1 << 30;  // keeps the integer conversion defined
        const float scaled = value * static_cast<float>(size);
        moves = moves && scaled >= -kLimit && scaled <= kLimit;
        return smaller(kLimit, larger(-kLimit, scaled));
    }

    OVOXEL_HD Taps taps(int64_t pixel, int l) const {
        Taps t;
        const int32_t w = width[l], h = height[l];
        const bool linear = filter != Filter::kNearest;
        const float shift = linear ? 0.5f : 0.0f;
        const float x = coordinate(uv[2 * pixel], w, t.movesX) - shift;
        const float y = coordinate(uv[2 * pixel + 1], h, t.movesY) - shift;
        const float floorX = floorf(x), floorY = floorf(y);
        t.fx = x - floorX;
        t.fy = y - floorY;
        const auto column = static_cast<int32_t>(floorX), row = static_cast<int32_t>(floorY);
        const int count = linear ? 2 : 1;
        for (int j = 0; j < count; ++j) {
            const int32_t ty = texelIndex(row + j, h, boundary);
            for (int i = 0; i < count; ++i) {
                const int32_t tx = texelIndex(column + i, w, boundary);
                t.offset[2 * j + i] = tx < 0 || ty < 0 ? -1 : (static_cast<int64_t>(ty) * w + tx) * channels;
            }
        }
        return t;
    }

    // Level of detail before it is bounded, and the larger eigenvalue's parts for the gradient.
    struct Footprint {
        double sx, sy, tx, ty, major, root;
    };
    OVOXEL_HD Footprint footprint(int64_t pixel) const {
        Footprint f;
        f.sx = static_cast<double>(uvDa[4 * pixel]) * width[0];
        f.sy = static_cast<double>(uvDa[4 * pixel + 1]) * width[0];
        f.tx = static_cast<double>(uvDa[4 * pixel + 2]) * height[0];
        f.ty = static_cast<double>(uvDa[4 * pixel + 3]) * height[0];
        const double a = f.sx * f.sx + f.tx * f.tx, b = f.sy * f.sy + f.ty * f.ty, c = f.sx * f.sy + f.tx * f.ty;
        const double gap = 0.25 * (a - b) * (a - b) + c * c;
        f.root = gap > 0 ? sqrt(gap) : 0;
        f.major = 0.5 * (a + b) + f.root;
        return f;
    }
    OVOXEL_HD double rawLevel(int64_t pixel) const {
        double value = 0;
        if (uvDa) {
            const double major = footprint(pixel).major;
            value = !(major > 0) ? -1e4 : major < 1e300 ? 0.5 * log2Portable(major) : 1e4;
        }
        if (bias) value += bias[pixel];
        return value == value ? value : 0;
    }

    // The one or two levels of a pixel and the weight of the second.
    OVOXEL_HD void levels(int64_t pixel, int (&l)[2], float& blend) const {
        l[0] = l[1] = 0;
        blend = 0;
        if (filter == Filter::kNearest || filter == Filter::kLinear) return;
        const double last = numLevels - 1, value = smaller(last, larger(0.0, rawLevel(pixel)));
        if (filter == Filter::kLinearMipNearest) {
            l[0] = l[1] = smaller(static_cast<int>(floor(value + 0.5)), numLevels - 1);
            return;
        }
        l[0] = static_cast<int>(floor(value));
        l[1] = smaller(l[0] + 1, numLevels - 1);
        blend = static_cast<float>(value - l[0]);
    }

    OVOXEL_HD static float tap(const float* texels, const Taps& t, int i, int64_t c) {
        return t.offset[i] < 0 ? 0.0f : texels[t.offset[i] + c];
    }
    OVOXEL_HD float filtered(const float* texels, const Taps& t, int64_t c) const {
        if (filter == Filter::kNearest) return tap(texels, t, 0, c);
        const float low = tap(texels, t, 0, c) * (1 - t.fx) + tap(texels, t, 1, c) * t.fx;
        const float high = tap(texels, t, 2, c) * (1 - t.fx) + tap(texels, t, 3, c) * t.fx;
        return low * (1 - t.fy) + high * t.fy;
    }

    // The up to eight texels that a pixel reads, null for none, and their weights.
    OVOXEL_HD void gather(int64_t pixel, const float* (&texel)[8], float (&weight)[8]) const {
        int l[2];
        float blend;
        levels(pixel, l, blend);
        for (int k = 0; k < 8; ++k) texel[k] = nullptr;
        for (int s = 0; s < 2; ++s) {
            if (s && !(blend > 0)) break;
            const Taps t = taps(pixel, l[s]);
            const float* texels = level[l[s]] + levelStart(pixel, l[s]);
            const float share = s ? blend : 1 - blend;
            if (filter == Filter::kNearest) {
                texel[0] = t.offset[0] < 0 ? nullptr : texels + t.offset[0];
                weight[0] = 1;
                break;
            }
            for (int i = 0; i < 4; ++i) {
                texel[4 * s + i] = t.offset[i] < 0 ? nullptr : texels + t.offset[i];
                weight[4 * s + i] = share * ((i & 1 ? t.fx : 1 - t.fx) * (i & 2 ? t.fy : 1 - t.fy));
            }
        }
    }

    // N channels at a time; every channel is the same sum in the same order for any N.
    template <int N>
    OVOXEL_HD void evaluatePacks(int64_t pixel, float* out) const {
        const float* texel[8];
        float weight[8];
        gather(pixel, texel, weight);
        for (int64_t c = 0; c < channels; c += N) {
            Pack<N> sum{};
            for (int k = 0; k < 8; ++k) {
                if (!texel[k]) continue;
                const Pack<N> value = loadPack<N>(texel[k] + c);
                for (int i = 0; i < N; ++i) sum.v[i] += weight[k] * value.v[i];
            }
            storePack(out + pixel * channels + c, sum);
        }
    }

    OVOXEL_HD void evaluate(int64_t pixel, int packs, float* out) const {
        if (packs == 4)
            evaluatePacks<4>(pixel, out);
        else if (packs == 2)
            evaluatePacks<2>(pixel, out);
        else
            evaluatePacks<1>(pixel, out);
    }

    int packs(const float* rows) const {
        int width = packWidth(channels, {rows});
        for (int l = 0; l < numLevels; ++l) width = smaller(width, packWidth(channels, {level[l]}));
        return width;
    }
};

// Gradients of a loss, given gradOut [P, C]; each may be null. gradUv [P, 2], gradUvDa [P, 4] and gradBias [P] are
// written, gradLevel[l] (shaped like level[l]) is added to.
struct TextureGrad {
    TextureCall call;
    const float* gradOut;
    float* gradUv;
    float* gradUvDa;
    float* gradBias;
    float* gradLevel[kMaxLevels];

    // dL/d(texel coordinates) of one level, times `weight`, added to gx, gy in units of uv.
    OVOXEL_HD void addUv(int64_t pixel, int l, float weight, float& gx, float& gy) const {
        const Taps t = call.taps(pixel, l);
        const float* texels = call.level[l] + call.levelStart(pixel, l);
        float dx = 0, dy = 0;
        for (int64_t c = 0; c < call.channels; ++c) {
            const float g = gradOut[pixel * call.channels + c];
            const float t0 = call.tap(texels, t, 0, c), t1 = call.tap(texels, t, 1, c);
            const float t2 = call.tap(texels, t, 2, c), t3 = call.tap(texels, t, 3, c);
            dx += g * ((t1 - t0) * (1 - t.fy) + (t3 - t2) * t.fy);
            dy += g * ((t2 * (1 - t.fx) + t3 * t.fx) - (t0 * (1 - t.fx) + t1 * t.fx));
        }
        if (t.movesX) gx += weight * dx * static_cast<float>(call.width[l]);
        if (t.movesY) gy += weight * dy * static_cast<float>(call.height[l]);
    }

    OVOXEL_HD void pixelGrad(int64_t pixel) const {
        int l[2];
        float blend, gx = 0, gy = 0;
        call.levels(pixel, l, blend);
        if (gradUv) {
            if (call.filter != Filter::kNearest) {
                addUv(pixel, l[0], 1 - blend, gx, gy);
                if (blend > 0) addUv(pixel, l[1], blend, gx, gy);
            }
            gradUv[2 * pixel] = gx;
            gradUv[2 * pixel + 1] = gy;
        }
        if (gradUvDa || gradBias) levelGrad(pixel, l);
    }

    OVOXEL_HD void levelGrad(int64_t pixel, const int (&l)[2]) const {
        double g = 0;
        const double raw = call.rawLevel(pixel);
        if (call.filter == Filter::kLinearMipLinear && raw >= 0 && raw <= call.numLevels - 1) {
            const Taps near = call.taps(pixel, l[0]), far = call.taps(pixel, l[1]);
            const float* texels = call.level[l[0]] + call.levelStart(pixel, l[0]);
            const float* farTexels = call.level[l[1]] + call.levelStart(pixel, l[1]);
            for (int64_t c = 0; c < call.channels; ++c)
                g += gradOut[pixel * call.channels + c] *
                     (call.filtered(farTexels, far, c) - call.filtered(texels, near, c));
        }
        if (gradBias) gradBias[pixel] = static_cast<float>(g);
        if (!gradUvDa) return;
        const TextureCall::Footprint f = call.footprint(pixel);
        double out[4] = {0, 0, 0, 0};
        if (g != 0 && f.major > 0) {
            const double m = g * 0.5 * 1.44269504088896340736 / f.major;
            const double a = f.sx * f.sx + f.tx * f.tx, b = f.sy * f.sy + f.ty * f.ty, c = f.sx * f.sy + f.tx * f.ty;
            const double spread = f.root > 0 ? 0.25 * (a - b) / f.root : 0, shear = f.root > 0 ? c / f.root : 0;
            const double ga = m * (0.5 + spread), gb = m * (0.5 - spread), gc = m * shear;
            out[0] = (2 * f.sx * ga + f.sy * gc) * call.width[0];
            out[1] = (2 * f.sy * gb + f.sx * gc) * call.width[0];
            out[2] = (2 * f.tx * ga + f.ty * gc) * call.height[0];
            out[3] = (2 * f.ty * gb + f.tx * gc) * call.height[0];
        }
        for (int i = 0; i < 4; ++i) gradUvDa[4 * pixel + i] = static_cast<float>(out[i]);
    }

    // Calls add(texel, weight) for every texel that the pixel read.
    template <class Add>
    OVOXEL_HD void texelGrad(int64_t pixel, Add&& add) const {
        bool any = false;
        for (int64_t c = 0; c < call.channels; ++c) any = any || gradOut[pixel * call.channels + c] != 0;
        if (!any) return;
        int l[2];
        float blend;
        call.levels(pixel, l, blend);
        for (int s = 0; s < (blend > 0 ? 2 : 1); ++s) {
            const Taps t = call.taps(pixel, l[s]);
            float* texels = gradLevel[l[s]] + call.levelStart(pixel, l[s]);
            const float share = s ? blend : 1 - blend;
            const bool nearest = call.filter == Filter::kNearest;
            for (int i = 0; i < (nearest ? 1 : 4); ++i) {
                if (t.offset[i] < 0) continue;
                const float weight =
                    nearest ? 1.0f : share * ((i & 1 ? t.fx : 1 - t.fx) * (i & 2 ? t.fy : 1 - t.fy));
                add(texels + t.offset[i], weight);
            }
        }
    }
};

// One step of a mip chain: every extent halved and rounded down, exact box filter.
// D. Wyman, C. Guinot, "Non-Power-of-Two Mipmapping", 2005.
struct Downsample {
    const float* from;  // [B, H, W, C]
    float* to;          // [B, max(1, H / 2), max(1, W / 2), C]
    int64_t batch;
    int32_t height, width;
    int64_t channels;

    OVOXEL_HD static int32_t half(int32_t size) { return size > 1 ? size / 2 : 1; }

    // Weight of source 2 i + tap in new texel i.
    OVOXEL_HD static float weight(int32_t size, int32_t i, int tap) {
        if (size == 1) return tap == 0 ? 1.0f : 0.0f;
        if (size % 2 == 0) return tap < 2 ? 0.5f : 0.0f;
        const int32_t h = size / 2;
        return static_cast<float>(tap == 0 ? h - i : tap == 1 ? h : i + 1) / static_cast<float>(size);
    }
    OVOXEL_HD static int numTaps(int32_t size) { return size == 1 ? 1 : size % 2 == 0 ? 2 : 3; }

    // Channels [first, last) of new texel (x, y) of batch item b.
    OVOXEL_HD void texel(int64_t b, int32_t y, int32_t x, int64_t first, int64_t last) const {
        const float* image = from + ((b * height + 2 * y) * width + 2 * x) * channels;
        float* target = to + ((b * half(height) + y) * half(width) + x) * channels;
        const int tapsY = numTaps(height), tapsX = numTaps(width);
        for (int64_t c = first; c < last; ++c) {
            float sum = 0;
            for (int j = 0; j < tapsY; ++j) {
                float row = 0;
                for (int i = 0; i < tapsX; ++i)
                    row += weight(width, x, i) * image[(int64_t{j} * width + i) * channels + c];
                sum += weight(height, y, j) * row;
            }
            target[c] = sum;
        }
    }
};

// The transpose: adds to gradFrom [B, H, W, C] what gradTo gives, texel by texel of the larger level.
struct DownsampleGrad {
    Downsample step;
    float* gradFrom;
    const float* gradTo;

    // Channels [first, last) of texel (x, y) of the larger level, batch item b.
    OVOXEL_HD void texel(int64_t b, int32_t y, int32_t x, int64_t first, int64_t last) const {
        const int32_t w = Downsample::half(step.width), h = Downsample::half(step.height);
        float* target = gradFrom + ((b * step.height + y) * step.width + x) * step.channels;
        // Only in an odd extent does a texel count in two new ones.
        const int32_t firstY = step.height % 2 ? larger(0, (y - 1) / 2) : y / 2;
        const int32_t firstX = step.width % 2 ? larger(0, (x - 1) / 2) : x / 2;
        for (int32_t ty = firstY; ty <= y / 2 && ty < h; ++ty)
            for (int32_t tx = firstX; tx <= x / 2 && tx < w; ++tx) {
                const int j = y - 2 * ty, i = x - 2 * tx;
                const float share = Downsample::weight(step.height, ty, j) * Downsample::weight(step.width, tx, i);
                const float* g = gradTo + ((b * h + ty) * w + tx) * step.channels;
                for (int64_t c = first; c < last; ++c) target[c] += share * g[c];
            }
    }
};

void textureOnHost(const TextureCall& call, float* out);
void textureOnDevice(const Workspace& workspace, const TextureCall& call, float* out);
void textureGradOnHost(const TextureGrad& grad);
void textureGradOnDevice(const Workspace& workspace, const TextureGrad& grad);
void downsampleOnHost(const Downsample& step);
void downsampleOnDevice(const Workspace& workspace, const Downsample& step);
void downsampleGradOnHost(const DownsampleGrad& grad);
void downsampleGradOnDevice(const Workspace& workspace, const DownsampleGrad& grad);

}  // namespace ovoxel
