#include "raster/interpolate.h"

#include <stdexcept>
#include <string>

#include "common/parallel.h"
#include "raster/face_scatter.h"

namespace ovoxel {
namespace {

constexpr int64_t kGrain = 1 << 14;

}  // namespace

void interpolateOnHost(const Interpolation& call, float* out, float* outDa) {
    const int packs = packWidth(call.channels, {call.attr, out});
    parallelFor(call.numPixels, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p) {
            if (call.evaluate(p, packs, out, outDa)) continue;
            const int64_t face = decodeId(call.rast[4 * p + 3]);
            if (face >= call.numTriangles)
                throw std::invalid_argument("tri has " + std::to_string(call.numTriangles) +
                                            " rows but rast shows triangle " + std::to_string(face));
            throw std::invalid_argument("tri must hold indices in 0.." + std::to_string(call.numVertices - 1) +
                                        " for every visible triangle");
        }
    });
}

void interpolateGradOnHost(const InterpolationGrad& grad) {
    const Interpolation& call = grad.call;
    if (grad.gradRast || grad.gradDb)
        parallelFor(call.numPixels, kGrain, [&](int64_t begin, int64_t end) {
            for (int64_t p = begin; p < end; ++p) grad.pixelGrad(p);
        });
    if (!grad.gradAttr) return;
    for (int64_t first = 0; first < call.numPixels; first += call.pixelsPerBatch)
        scatterToCorners(call.rast + 4 * first, call.pixelsPerBatch, call.tri, call.numTriangles, call.numVertices,
                         call.channels, grad.gradAttr + first / call.pixelsPerBatch * call.batchStride,
                         [&](int64_t pixel, int64_t, double* corners) {
                             grad.attrGrad(first + pixel, [&](int k, int64_t c, float value) {
                                 corners[k * call.channels + c] += value;
                             });
                         });
}

}  // namespace ovoxel
