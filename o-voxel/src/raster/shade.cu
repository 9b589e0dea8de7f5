// Launches of interpolation, texture look-up and antialiasing: one thread a pixel. Gradients of shared data (vertex
// attributes and positions, texels) are summed with atomic adds.
#include "common/launch.h"
#include "raster/antialias.h"
#include "raster/edge_table.h"
#include "raster/interpolate.h"
#include "raster/texture.h"
#include "raster/warp_sum.h"

namespace ovoxel {
namespace {

struct InterpolateBody {
    Interpolation call;
    float* out;
    float* outDa;
    __device__ void operator()(int64_t pixel) const { call.evaluate(pixel, out, outDa); }
};

struct InterpolateGradBody {
    InterpolationGrad grad;
    __device__ void operator()(int64_t pixel) const {
        if (grad.gradRast || grad.gradDb) grad.pixelGrad(pixel);
        if (!grad.gradAttr) return;
        const Interpolation& call = grad.call;
        const int64_t face = decodeId(call.rast[4 * pixel + 3]);
        const float* rows[3];
        if (face < 0 || !call.corners(pixel, face, rows)) return;
        float* to[3];
        for (int k = 0; k < 3; ++k) to[k] = grad.gradAttr + (rows[k] - call.attr);
        const int64_t table = call.batchStride ? pixel / call.pixelsPerBatch : 0;
        const WarpSum sum(static_cast<unsigned long long>(table * call.numTriangles + face));
        grad.attrGrad(pixel, [&](int k, int64_t c, float value) { sum.add(to[k] + c, value); });
    }
};

struct TextureBody {
    TextureCall call;
    float* out;
    __device__ void operator()(int64_t pixel) const { call.evaluate(pixel, out); }
};

struct TextureGradBody {
    TextureGrad grad;
    __device__ void operator()(int64_t pixel) const {
        if (grad.gradUv || grad.gradUvDa || grad.gradBias) grad.pixelGrad(pixel);
        if (!grad.gradLevel[0]) return;
        grad.texelGrad(pixel, [&](float* texel, float weight) {
            const WarpSum sum(reinterpret_cast<unsigned long long>(texel));
            const float* g = grad.gradOut + pixel * grad.call.channels;
            for (int64_t c = 0; c < grad.call.channels; ++c) sum.add(texel + c, weight * g[c]);
        });
    }
};

// One thread a channel of a texel: neighbouring threads read and write neighbouring floats.
template <class Step>
struct ByChannel {
    Step step;
    int64_t channels;
    __device__ void operator()(int64_t i) const {
        const int64_t texel = i / channels, c = i - texel * channels;
        step.texel(texel, c, c + 1);
    }
};

struct AntialiasBody {
    AntialiasCall call;
    float* out;
    __device__ void operator()(int64_t pixel) const { call.evaluate(pixel, out); }
};

struct AntialiasGradBody {
    AntialiasGrad grad;
    __device__ void operator()(int64_t pixel) const {
        if (grad.gradColor) grad.colorGrad(pixel);
        if (grad.gradPos) grad.posGrad(pixel, [this](int64_t at, float value) { atomicAdd(grad.gradPos + at, value); });
    }
};

// Open addressing; what an entry holds does not depend on the order of the insertions.
struct EdgeTable {
    unsigned long long* keys;
    int32_t* low;
    int32_t* high;
    uint64_t mask;

    __device__ void insert(uint64_t key, int32_t vertex) const {
        for (uint64_t slot = edgeHash(key) & mask;; slot = (slot + 1) & mask) {
            const unsigned long long found = atomicCAS(keys + slot, kNoEdge, key);
            if (found != kNoEdge && found != key) continue;
            atomicMin(low + slot, vertex);
            atomicMax(high + slot, vertex);
            return;
        }
    }
    __device__ int32_t across(uint64_t key, int32_t own) const {
        uint64_t slot = edgeHash(key) & mask;
        while (keys[slot] != key) slot = (slot + 1) & mask;
        return acrossEdge(low[slot], high[slot], own);
    }
};

struct InsertEdgesBody {
    EdgeTable table;
    const int32_t* tri;
    __device__ void operator()(int64_t f) const {
        const int32_t* row = tri + 3 * f;
        for (int k = 0; k < 3 && hasEdges(row); ++k) table.insert(edgeKey(row[(k + 1) % 3], row[(k + 2) % 3]), row[k]);
    }
};

struct AcrossEdgesBody {
    EdgeTable table;
    const int32_t* tri;
    int32_t* out;
    __device__ void operator()(int64_t f) const {
        const int32_t* row = tri + 3 * f;
        for (int k = 0; k < 3; ++k)
            out[3 * f + k] = hasEdges(row) ? table.across(edgeKey(row[(k + 1) % 3], row[(k + 2) % 3]), row[k]) : -1;
    }
};

}  // namespace

void interpolateOnDevice(const Workspace& workspace, const Interpolation& call, float* out, float* outDa) {
    launchFor(workspace, call.numPixels, InterpolateBody{call, out, outDa}, "interpolation");
}

void interpolateGradOnDevice(const Workspace& workspace, const InterpolationGrad& grad) {
    launchFor(workspace, grad.call.numPixels, InterpolateGradBody{grad}, "gradient of interpolation");
}

void textureOnDevice(const Workspace& workspace, const TextureCall& call, float* out) {
    launchFor(workspace, call.numPixels, TextureBody{call, out}, "texture look-up");
}

void textureGradOnDevice(const Workspace& workspace, const TextureGrad& grad) {
    launchFor(workspace, grad.call.numPixels, TextureGradBody{grad}, "gradient of texture look-up");
}

void downsampleOnDevice(const Workspace& workspace, const Downsample& step) {
    launchFor(workspace, step.numTexels() * step.channels, ByChannel<Downsample>{step, step.channels}, "mip level");
}

void downsampleGradOnDevice(const Workspace& workspace, const DownsampleGrad& grad) {
    launchFor(workspace, grad.numTexels() * grad.step.channels, ByChannel<DownsampleGrad>{grad, grad.step.channels},
              "gradient of a mip level");
}

void antialiasOnDevice(const Workspace& workspace, const AntialiasCall& call, float* out) {
    launchFor(workspace, call.numPixels(), AntialiasBody{call, out}, "antialiasing");
}

void antialiasGradOnDevice(const Workspace& workspace, const AntialiasGrad& grad) {
    launchFor(workspace, grad.call.numPixels(), AntialiasGradBody{grad},
              "gradient of antialiasing");
}

void edgeNeighboursOnDevice(Workspace& workspace, const int32_t* tri, int64_t numTriangles, int32_t* out) {
    const int64_t slots = edgeSlots(numTriangles);
    const EdgeTable table{workspace.allocate<unsigned long long>(slots), workspace.allocate<int32_t>(slots),
                          workspace.allocate<int32_t>(slots), static_cast<uint64_t>(slots - 1)};
    checkCuda(cudaMemsetAsync(table.keys, 0xff, sizeof(*table.keys) * slots, workspace.stream()), "memset");
    checkCuda(cudaMemsetAsync(table.low, 0x7f, sizeof(*table.low) * slots, workspace.stream()), "memset");
    checkCuda(cudaMemsetAsync(table.high, 0xff, sizeof(*table.high) * slots, workspace.stream()), "memset");
    launchFor(workspace, numTriangles, InsertEdgesBody{table, tri}, "edges");
    launchFor(workspace, numTriangles, AcrossEdgesBody{table, tri, out}, "neighbours across edges");
}

}  // namespace ovoxel
