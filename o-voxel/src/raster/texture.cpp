#include "raster/texture.h"

#include "common/parallel.h"

namespace ovoxel {
namespace {

template <class Body>
void runOnHost(int64_t n, const Body& body) {
    parallelFor(n, 1 << 14, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) body(i);
    });
}

}  // namespace

void textureOnHost(const TextureCall& call, float* out) {
    runOnHost(call.numPixels, [&](int64_t pixel) { call.evaluate(pixel, out); });
}

void textureGradOnHost(const TextureGrad& grad) {
    if (grad.gradUv || grad.gradUvDa || grad.gradBias)
        runOnHost(grad.call.numPixels, [&](int64_t pixel) { grad.pixelGrad(pixel); });
    if (grad.gradLevel[0])  // one thread: the order of the sums is fixed
        for (int64_t pixel = 0; pixel < grad.call.numPixels; ++pixel)
            grad.texelGrad(pixel, [&](float* texel, float weight) {
                const float* g = grad.gradOut + pixel * grad.call.channels;
                for (int64_t c = 0; c < grad.call.channels; ++c) texel[c] += weight * g[c];
            });
}

void downsampleOnHost(const Downsample& step) {
    runOnHost(step.numTexels(), [&](int64_t texel) { step.texel(texel, 0, step.channels); });
}

void downsampleGradOnHost(const DownsampleGrad& grad) {
    runOnHost(grad.numTexels(), [&](int64_t texel) { grad.texel(texel, 0, grad.step.channels); });
}

}  // namespace ovoxel
