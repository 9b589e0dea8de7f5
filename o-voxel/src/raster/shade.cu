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
    int packs;
    float* out;
    float* outDa;
    __device__ void operator()(int64_t pixel) const { call.evaluate(pixel, packs, out, outDa); }
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
    int packs;
    float* out;
    __device__ void operator()(int64_t pixel) const { call.evaluate(pixel, packs, out); }
};

struct TextureGradBody {
    TextureGrad grad;
    int packs;

    template <int N>
    __device__ void addPacks(const WarpSum& sum, const float* g, float weight, float* texel) const {
        for (int64_t c = 0; c < grad.call.channels; c += N) {
            Pack<N> value = loadPack<N>(g + c);
            for (int i = 0; i < N; ++i) value.v[i] *= weight;
            sum.add(texel + c, value);
        }
    }

    __device__ void operator()(int64_t pixel) const {
        if (grad.gradUv || grad.gradUvDa || grad.gradBias) grad.pixelGrad(pixel);
        if (!grad.gradLevel[0]) return;
        grad.texelGrad(pixel, [&](float* texel, float weight) {
            const WarpSum sum(reinterpret_cast<unsigned long long>(texel));
            const float* g = grad.gradOut + pixel * grad.call.channels;
            if (packs == 4)
                addPacks<4>(sum, g, weight, texel);
            else if (packs == 2)
                addPacks<2>(sum, g, weight, texel);
            else
                addPacks<1>(sum, g, weight, texel);
        });
    }
};

// One thread a channel of a texel, one row of blocks a row of texels: neighbouring threads read and write neighbouring
// floats, and nothing is divided but by the number of channels.
template <class Step>
__global__ void __launch_bounds__(256) texelRowsKernel(Step step, int32_t rows, uint32_t rowFloats, uint32_t channels) {
    const uint32_t i = blockIdx.x * 256 + threadIdx.x;
    if (i >= rowFloats) return;
    const uint32_t x = i / channels, c = i - x * channels;
    for (int32_t y = blockIdx.y; y < rows; y += gridDim.y) step.texel(blockIdx.z, y, static_cast<int32_t>(x), c, c + 1);
}

template <class Step>
void launchTexelRows(const Workspace& workspace, const Step& step, int64_t batch, int32_t rows, int32_t columns,
                     int64_t channels, const char* what) {
    const int64_t rowFloats = columns * channels;
    if (batch == 0 || rowFloats == 0) return;
    if (rowFloats >= int64_t{1} << 31 || batch > 65535) throw std::invalid_argument("mip chain: texture too large");
    const dim3 blocks(static_cast<unsigned>((rowFloats + 255) / 256), static_cast<unsigned>(rows < 65535 ? rows : 65535),
                      static_cast<unsigned>(batch));
    texelRowsKernel<<<blocks, 256, 0, workspace.stream()>>>(step, rows, static_cast<uint32_t>(rowFloats),
                                                            static_cast<uint32_t>(channels));
    checkLaunch(what);
}

struct FindAlphasBody {
    AntialiasCall call;
    float* alphas;
    __device__ void operator()(int64_t pixel) const { call.findAlphas(pixel, alphas); }
};

struct AntialiasBody {
    AntialiasCall call;
    const float* alphas;
    float* out;
    __device__ void operator()(int64_t pixel) const { call.evaluate(pixel, alphas, out); }
};

struct AntialiasGradBody {
    AntialiasGrad grad;
    __device__ void operator()(int64_t pixel) const {
        if (grad.gradColor) grad.colorGrad(pixel);
        if (grad.gradPos) grad.posGrad(pixel, [this](int64_t at, float value) { atomicAdd(grad.gradPos + at, value); });
    }
};

struct EdgeSlot {
    unsigned long long key;
    uint32_t low;   // all ones while empty, as is the key
    uint32_t high;  // complement of the largest, so that it too starts as all ones and falls
};

// Open addressing; what an entry holds does not depend on the order of the insertions.
struct EdgeTable {
    EdgeSlot* slots;
    uint64_t mask;

    __device__ void insert(uint64_t key, int32_t vertex) const {
        for (uint64_t i = edgeHash(key) & mask;; i = (i + 1) & mask) {
            EdgeSlot& slot = slots[i];
            const unsigned long long found = atomicCAS(&slot.key, kNoEdge, key);
            if (found != kNoEdge && found != key) continue;
            atomicMin(&slot.low, static_cast<uint32_t>(vertex));
            atomicMin(&slot.high, ~static_cast<uint32_t>(vertex));
            return;
        }
    }
    __device__ int32_t across(uint64_t key, int32_t own) const {
        uint64_t i = edgeHash(key) & mask;
        while (slots[i].key != key) i = (i + 1) & mask;
        return acrossEdge(static_cast<int32_t>(slots[i].low), static_cast<int32_t>(~slots[i].high), own);
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
    const int packs = packWidth(call.channels, {call.attr, out});
    launchFor(workspace, call.numPixels, InterpolateBody{call, packs, out, outDa}, "interpolation");
}

void interpolateGradOnDevice(const Workspace& workspace, const InterpolationGrad& grad) {
    launchFor(workspace, grad.call.numPixels, InterpolateGradBody{grad}, "gradient of interpolation");
}

void textureOnDevice(const Workspace& workspace, const TextureCall& call, float* out) {
    launchFor(workspace, call.numPixels, TextureBody{call, call.packs(out), out}, "texture look-up");
}

void textureGradOnDevice(const Workspace& workspace, const TextureGrad& grad) {
    int packs = packWidth(grad.call.channels, {grad.gradOut});
    for (int l = 0; l < grad.call.numLevels; ++l) packs = smaller(packs, packWidth(grad.call.channels, {grad.gradLevel[l]}));
    launchFor(workspace, grad.call.numPixels, TextureGradBody{grad, packs}, "gradient of texture look-up");
}

void downsampleOnDevice(const Workspace& workspace, const Downsample& step) {
    launchTexelRows(workspace, step, step.batch, Downsample::half(step.height), Downsample::half(step.width),
                    step.channels, "mip level");
}

void downsampleGradOnDevice(const Workspace& workspace, const DownsampleGrad& grad) {
    const Downsample& step = grad.step;
    launchTexelRows(workspace, grad, step.batch, step.height, step.width, step.channels, "gradient of a mip level");
}

void antialiasOnDevice(const Workspace& workspace, const AntialiasCall& call, float* alphas, float* out) {
    launchFor(workspace, call.numPixels(), FindAlphasBody{call, alphas}, "finding silhouettes");
    launchFor(workspace, call.numPixels(), AntialiasBody{call, alphas, out}, "antialiasing");
}

void antialiasGradOnDevice(const Workspace& workspace, const AntialiasGrad& grad) {
    launchFor(workspace, grad.call.numPixels(), AntialiasGradBody{grad},
              "gradient of antialiasing");
}

void edgeNeighboursOnDevice(Workspace& workspace, const int32_t* tri, int64_t numTriangles, int32_t* out) {
    const int64_t slots = edgeSlots(numTriangles);
    const EdgeTable table{workspace.allocate<EdgeSlot>(slots), static_cast<uint64_t>(slots - 1)};
    checkCuda(cudaMemsetAsync(table.slots, 0xff, sizeof(EdgeSlot) * slots, workspace.stream()), "memset");
    launchFor(workspace, numTriangles, InsertEdgesBody{table, tri}, "edges");
    launchFor(workspace, numTriangles, AcrossEdgesBody{table, tri, out}, "neighbours across edges");
}

}  // namespace ovoxel
