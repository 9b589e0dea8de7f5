// Vertex attributes at rasterised pixels, their screen derivatives, and the gradients of both.
#pragma once

#include <cstdint>

#include "common/device.h"
#include "common/host_device.h"
#include "raster/fragment.h"
#include "raster/pack.h"

namespace ovoxel {

// out = u a0 + v a1 + (1 - u - v) a2; outDa = per chosen channel (d/dX, d/dY); zeros where rast is empty.
struct Interpolation {
    const float* attr;  // [V, C], or [B, V, C] with batchStride = V * C (0: shared)
    int64_t numVertices, channels, batchStride;
    const int32_t* tri;  // [F, 3]
    int64_t numTriangles;
    const float* rast;  // [P, 4]
    int64_t numPixels, pixelsPerBatch;
    const float* db;        // [P, 4] or null
    const int32_t* chosen;  // [K] channels that are differentiated
    int64_t numChosen;

    OVOXEL_HD const float* table(int64_t pixel) const {
        return batchStride ? attr + pixel / pixelsPerBatch * batchStride : attr;
    }

    // The attribute rows of the triangle's corners; false if one is out of range.
    OVOXEL_HD bool corners(int64_t pixel, int64_t face, const float* (&row)[3]) const {
        if (face >= numTriangles) return false;
        const float* base = table(pixel);
        for (int k = 0; k < 3; ++k) {
            const int32_t index = tri[3 * face + k];
            if (index < 0 || index >= numVertices) return false;
            row[k] = base + index * channels;
        }
        return true;
    }

    template <int N>
    OVOXEL_HD void blend(const float* const (&a)[3], float u, float v, float w, float* to) const {
        for (int64_t c = 0; c < channels; c += N) {
            const Pack<N> a0 = loadPack<N>(a[0] + c), a1 = loadPack<N>(a[1] + c), a2 = loadPack<N>(a[2] + c);
            Pack<N> sum;
            for (int i = 0; i < N; ++i) sum.v[i] = u * a0.v[i] + v * a1.v[i] + w * a2.v[i];
            storePack(to + c, sum);
        }
    }

    // False if the visible triangle or one of its indices is out of range; the pixel is then 0.
    OVOXEL_HD bool evaluate(int64_t pixel, int packs, float* out, float* outDa) const {
        float* to = out + pixel * channels;
        float* toDa = outDa + pixel * 2 * numChosen;
        const int64_t face = decodeId(rast[4 * pixel + 3]);
        const float* a[3];
        const bool valid = face >= 0 && corners(pixel, face, a);
        if (!valid) {
            for (int64_t c = 0; c < channels; ++c) to[c] = 0;
            for (int64_t c = 0; c < 2 * numChosen; ++c) toDa[c] = 0;
            return face < 0;
        }
        const float u = rast[4 * pixel], v = rast[4 * pixel + 1], w = 1 - u - v;
        if (packs == 4)
            blend<4>(a, u, v, w, to);
        else if (packs == 2)
            blend<2>(a, u, v, w, to);
        else
            blend<1>(a, u, v, w, to);
        for (int64_t k = 0; k < numChosen; ++k) {
            const int32_t c = chosen[k];
            const float alongU = a[0][c] - a[2][c], alongV = a[1][c] - a[2][c];
            toDa[2 * k] = db[4 * pixel] * alongU + db[4 * pixel + 2] * alongV;
            toDa[2 * k + 1] = db[4 * pixel + 1] * alongU + db[4 * pixel + 3] * alongV;
        }
        return true;
    }
};

// Gradients of a loss with respect to rast, db [P, 4] (written, or null) and attr (added to); gradOut [P, C] and gradDa
// [P, 2 K] may be null.
struct InterpolationGrad {
    Interpolation call;
    const float* gradOut;
    const float* gradDa;
    float* gradRast;
    float* gradDb;
    float* gradAttr;

    OVOXEL_HD void pixelGrad(int64_t pixel) const {
        float uv[2] = {0, 0}, slopes[4] = {0, 0, 0, 0};
        const int64_t face = decodeId(call.rast[4 * pixel + 3]);
        const float* a[3];
        if (face >= 0 && call.corners(pixel, face, a)) {
            if (gradOut && gradRast)
                for (int64_t c = 0; c < call.channels; ++c) {
                    const float g = gradOut[pixel * call.channels + c];
                    uv[0] += g * (a[0][c] - a[2][c]);
                    uv[1] += g * (a[1][c] - a[2][c]);
                }
            if (gradDa && gradDb)
                for (int64_t k = 0; k < call.numChosen; ++k) {
                    const int32_t c = call.chosen[k];
                    const float* g = gradDa + 2 * (pixel * call.numChosen + k);
                    const float alongU = a[0][c] - a[2][c], alongV = a[1][c] - a[2][c];
                    slopes[0] += g[0] * alongU;
                    slopes[1] += g[1] * alongU;
                    slopes[2] += g[0] * alongV;
                    slopes[3] += g[1] * alongV;
                }
        }
        if (gradRast) {
            gradRast[4 * pixel] = uv[0];
            gradRast[4 * pixel + 1] = uv[1];
            gradRast[4 * pixel + 2] = gradRast[4 * pixel + 3] = 0;
        }
        if (gradDb)
            for (int i = 0; i < 4; ++i) gradDb[4 * pixel + i] = slopes[i];
    }

    // Calls add(corner, channel, value) for what the pixel gives to the attributes of its triangle's corners.
    template <class Add>
    OVOXEL_HD void attrGrad(int64_t pixel, Add&& add) const {
        const float u = call.rast[4 * pixel], v = call.rast[4 * pixel + 1], w = 1 - u - v;
        if (gradOut)
            for (int64_t c = 0; c < call.channels; ++c) {
                const float g = gradOut[pixel * call.channels + c];
                add(0, c, u * g);
                add(1, c, v * g);
                add(2, c, w * g);
            }
        if (gradDa)
            for (int64_t k = 0; k < call.numChosen; ++k) {
                const float* g = gradDa + 2 * (pixel * call.numChosen + k);
                const float* d = call.db + 4 * pixel;
                const float toU = d[0] * g[0] + d[1] * g[1], toV = d[2] * g[0] + d[3] * g[1];
                add(0, call.chosen[k], toU);
                add(1, call.chosen[k], toV);
                add(2, call.chosen[k], -toU - toV);
            }
    }
};

// The host throws std::invalid_argument where `evaluate` is false.
void interpolateOnHost(const Interpolation& call, float* out, float* outDa);
void interpolateOnDevice(const Workspace& workspace, const Interpolation& call, float* out, float* outDa);
void interpolateGradOnHost(const InterpolationGrad& call);
void interpolateGradOnDevice(const Workspace& workspace, const InterpolationGrad& call);

}  // namespace ovoxel
