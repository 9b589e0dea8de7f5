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

template <class Step>
void texelsOnHost(const Step& step, int64_t batch, int32_t rows, int32_t columns, int64_t channels) {
    parallelFor(batch * rows, 16, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row)
            for (int32_t x = 0; x < columns; ++x)
                step.texel(row / rows, static_cast<int32_t>(row % rows), x, 0, channels);
    });
}

}  // namespace

void textureOnHost(const TextureCall& call, float* out) {
    const int packs = call.packs(out);
    runOnHost(call.numPixels, [&](int64_t pixel) { call.evaluate(pixel, packs, out); });
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
    texelsOnHost(step, step.batch, Downsample::half(step.height), Downsample::half(step.width), step.channels);
}

void downsampleGradOnHost(const DownsampleGrad& grad) {
    texelsOnHost(grad, grad.step.batch, grad.step.height, grad.step.width, grad.step.channels);
}

}  // namespace ovoxel
