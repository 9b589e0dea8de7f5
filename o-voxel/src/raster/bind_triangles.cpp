// Bindings of the triangle rasteriser and what follows it. Every function takes C-contiguous arrays of one device, CPU
// or CUDA, and writes into arrays of the caller; `launch` is None on CPU, else what o_voxel._device.launch() gives.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "raster/antialias.h"
#include "raster/interpolate.h"
#include "raster/rasterize.h"
#include "raster/texture.h"
#ifdef OVOXEL_WITH_CUDA
#include "common/tensor_workspace.h"
#endif

namespace nb = nanobind;

namespace ovoxel {
namespace {

using Floats = nb::ndarray<const float, nb::c_contig>;
using Ints = nb::ndarray<const int32_t, nb::c_contig>;
using OutFloats = nb::ndarray<float, nb::c_contig>;
using OutInts = nb::ndarray<int32_t, nb::c_contig>;
using Launch = std::optional<nb::tuple>;

template <class Array>
int64_t size(const Array& array, size_t axis) {
    return static_cast<int64_t>(array.shape(axis));
}

// Raises unless the array has the shape (-1: any extent) and lies where the call runs.
template <class Array>
void check(const Array& array, const char* name, std::initializer_list<int64_t> shape, const Launch& launch) {
    bool fits = array.ndim() == shape.size();
    size_t axis = 0;
    for (const int64_t extent : shape) {
        fits = fits && (extent < 0 || size(array, axis) == extent);
        ++axis;
    }
    if (!fits) throw std::invalid_argument(std::string("wrong shape of ") + name);
    if ((array.device_type() == nb::device::cuda::value) != launch.has_value())
        throw std::invalid_argument(std::string("wrong device of ") + name);
}

const Corner* cornerPointer(const Floats& pos) {
    if (pos.device_type() == nb::device::cuda::value && reinterpret_cast<uintptr_t>(pos.data()) % 16)
        throw std::invalid_argument("pos must start at a multiple of 16 bytes");
    return reinterpret_cast<const Corner*>(pos.data());
}

template <class Array>
auto* pointer(const std::optional<Array>& array, const char* name, std::initializer_list<int64_t> shape,
              const Launch& launch) {
    if (array) check(*array, name, shape, launch);
    return array ? array->data() : nullptr;
}

// Calls onHost() without the GIL, or onDevice(workspace).
template <class Host, class Device>
void run(const Launch& launch, Host&& onHost, Device&& onDevice) {
    if (!launch) {
        const nb::gil_scoped_release release;
        onHost();
        return;
    }
#ifdef OVOXEL_WITH_CUDA
    TensorWorkspace workspace(*launch);
    onDevice(workspace);
#else
    (void)onDevice;
    throw std::invalid_argument("the core was built without CUDA");
#endif
}

#ifdef OVOXEL_WITH_CUDA
#define OVOXEL_ON_DEVICE(call) [&](TensorWorkspace& workspace) { call; }
#else
#define OVOXEL_ON_DEVICE(call) 0
#endif

RasterInput rasterInput(const Floats& pos, const Ints& tri, int64_t batch, int64_t height, int64_t width,
                        const Launch& launch) {
    check(pos, "pos", {-1, -1, 4}, launch);
    check(tri, "tri", {-1, 3}, launch);
    if (size(pos, 0) != 1 && size(pos, 0) != batch) throw std::invalid_argument("wrong shape of pos");
    if (height > 32768 || width > 32768) throw std::invalid_argument("rasterize: resolution must be at most 32768");
    if (size(tri, 0) >= (int64_t{1} << 31) - 1) throw std::invalid_argument("rasterize: too many triangles");
    RasterInput input{};
    input.pos = cornerPointer(pos);
    input.posShared = size(pos, 0) == 1;
    input.batch = batch;
    input.numVertices = size(pos, 1);
    input.tri = tri.data();
    input.numTriangles = size(tri, 0);
    input.height = static_cast<int32_t>(height);
    input.width = static_cast<int32_t>(width);
    return input;
}

void rasterizePy(const Floats& pos, const Ints& tri, const OutFloats& rast, const std::optional<OutFloats>& db,
                 const std::optional<Floats>& peel, const std::optional<Ints>& ranges, const Launch& launch) {
    check(rast, "rast", {-1, -1, -1, 4}, launch);
    const int64_t batch = size(rast, 0), height = size(rast, 1), width = size(rast, 2);
    RasterInput input = rasterInput(pos, tri, batch, height, width, launch);
    input.peel = pointer(peel, "peel", {batch, height, width}, launch);
    input.ranges = pointer(ranges, "ranges", {batch, 2}, std::nullopt);
    for (int64_t b = 0; b < batch && input.ranges; ++b) {
        const TriangleRange range = rangeOf(input, b);
        if (range.first < 0 || range.count < 0 || range.first + range.count > input.numTriangles)
            throw std::invalid_argument("ranges must lie within tri");
    }
    float* slopes = pointer(db, "db", {batch, height, width, 4}, launch);
    run(
        launch, [&] { rasterizeOnHost(input, rast.data(), slopes); },
        OVOXEL_ON_DEVICE(rasterizeOnDevice(workspace, input, rast.data(), slopes)));
}

void rasterizeGradPy(const Floats& pos, const Ints& tri, const Floats& rast, const std::optional<Floats>& gradRast,
                     const std::optional<Floats>& gradDb, const OutFloats& gradPos, const Launch& launch) {
    check(rast, "rast", {-1, -1, -1, 4}, launch);
    const int64_t batch = size(rast, 0), height = size(rast, 1), width = size(rast, 2);
    const RasterInput input = rasterInput(pos, tri, batch, height, width, launch);
    check(gradPos, "grad_pos", {size(pos, 0), input.numVertices, 4}, launch);
    const float* g = pointer(gradRast, "grad_rast", {batch, height, width, 4}, launch);
    const float* h = pointer(gradDb, "grad_db", {batch, height, width, 4}, launch);
    run(
        launch, [&] { rasterizeGradOnHost(input, rast.data(), g, h, gradPos.data()); },
        OVOXEL_ON_DEVICE(rasterizeGradOnDevice(workspace, input, rast.data(), g, h, gradPos.data())));
}

// attr [B or 1, V, C], tri [F, 3], rast and db [B, P, 4], chosen [K]
Interpolation interpolation(const Floats& attr, const Ints& tri, const Floats& rast, const std::optional<Floats>& db,
                            const Ints& chosen, const Launch& launch) {
    check(attr, "attr", {-1, -1, -1}, launch);
    check(tri, "tri", {-1, 3}, launch);
    check(rast, "rast", {-1, -1, 4}, launch);
    check(chosen, "chosen", {-1}, launch);
    const int64_t batch = size(rast, 0), pixels = size(rast, 1);
    if (size(attr, 0) != 1 && size(attr, 0) != batch) throw std::invalid_argument("wrong shape of attr");
    if (!db && size(chosen, 0)) throw std::invalid_argument("chosen channels need db");
    return {attr.data(), size(attr, 1), size(attr, 2), size(attr, 0) > 1 ? size(attr, 1) * size(attr, 2) : 0,
            tri.data(), size(tri, 0), rast.data(), batch * pixels, pixels,
            pointer(db, "db", {batch, pixels, 4}, launch), chosen.data(), size(chosen, 0)};
}

void interpolatePy(const Floats& attr, const Ints& tri, const Floats& rast, const std::optional<Floats>& db,
                   const Ints& chosen, const OutFloats& out, const OutFloats& outDa, const Launch& launch) {
    const Interpolation call = interpolation(attr, tri, rast, db, chosen, launch);
    check(out, "out", {size(rast, 0), size(rast, 1), call.channels}, launch);
    check(outDa, "out_da", {size(rast, 0), size(rast, 1), 2 * call.numChosen}, launch);
    run(
        launch, [&] { interpolateOnHost(call, out.data(), outDa.data()); },
        OVOXEL_ON_DEVICE(interpolateOnDevice(workspace, call, out.data(), outDa.data())));
}

void interpolateGradPy(const Floats& attr, const Ints& tri, const Floats& rast, const std::optional<Floats>& db,
                       const Ints& chosen, const std::optional<Floats>& gradOut, const std::optional<Floats>& gradDa,
                       const std::optional<OutFloats>& gradAttr, const std::optional<OutFloats>& gradRast,
                       const std::optional<OutFloats>& gradDb, const Launch& launch) {
    const Interpolation call = interpolation(attr, tri, rast, db, chosen, launch);
    const int64_t batch = size(rast, 0), pixels = size(rast, 1);
    const InterpolationGrad grad{call,
                                 pointer(gradOut, "grad_out", {batch, pixels, call.channels}, launch),
                                 pointer(gradDa, "grad_da", {batch, pixels, 2 * call.numChosen}, launch),
                                 pointer(gradRast, "grad_rast", {batch, pixels, 4}, launch),
                                 pointer(gradDb, "grad_db", {batch, pixels, 4}, launch),
                                 pointer(gradAttr, "grad_attr", {size(attr, 0), size(attr, 1), size(attr, 2)}, launch)};
    run(
        launch, [&] { interpolateGradOnHost(grad); }, OVOXEL_ON_DEVICE(interpolateGradOnDevice(workspace, grad)));
}

// levels: [B or 1, H_l, W_l, C] each; uv [B, P, 2], uv_da [B, P, 4], bias [B, P]
TextureCall textureCall(const std::vector<Floats>& levels, const Floats& uv, const std::optional<Floats>& uvDa,
                        const std::optional<Floats>& bias, int filter, int boundary, const Launch& launch) {
    if (levels.empty() || levels.size() > kMaxLevels || filter < 0 || filter > 3 || boundary < 0 || boundary > 3)
        throw std::invalid_argument("texture: wrong number of levels, filter or boundary");
    check(uv, "uv", {-1, -1, 2}, launch);
    const int64_t batch = size(uv, 0), pixels = size(uv, 1);
    TextureCall call{};
    call.numLevels = static_cast<int32_t>(levels.size());
    for (size_t l = 0; l < levels.size(); ++l) {
        check(levels[l], "tex", {-1, -1, -1, -1}, launch);
        check(levels[l], "tex", {size(levels[0], 0), -1, -1, size(levels[0], 3)}, launch);
        if (size(levels[l], 1) == 0 || size(levels[l], 2) == 0 || size(levels[l], 1) > 65536 ||
            size(levels[l], 2) > 65536)
            throw std::invalid_argument("wrong shape of tex");
        call.level[l] = levels[l].data();
        call.height[l] = static_cast<int32_t>(size(levels[l], 1));
        call.width[l] = static_cast<int32_t>(size(levels[l], 2));
    }
    if (size(levels[0], 0) != 1 && size(levels[0], 0) != batch) throw std::invalid_argument("wrong shape of tex");
    call.batched = size(levels[0], 0) > 1;
    call.channels = size(levels[0], 3);
    call.uv = uv.data();
    call.uvDa = pointer(uvDa, "uv_da", {batch, pixels, 4}, launch);
    call.bias = pointer(bias, "bias", {batch, pixels}, launch);
    call.numPixels = batch * pixels;
    call.pixelsPerBatch = pixels;
    call.filter = static_cast<Filter>(filter);
    call.boundary = static_cast<Boundary>(boundary);
    return call;
}

void texturePy(const std::vector<Floats>& levels, const Floats& uv, const std::optional<Floats>& uvDa,
               const std::optional<Floats>& bias, int filter, int boundary, const OutFloats& out, const Launch& launch) {
    const TextureCall call = textureCall(levels, uv, uvDa, bias, filter, boundary, launch);
    check(out, "out", {size(uv, 0), size(uv, 1), call.channels}, launch);
    run(
        launch, [&] { textureOnHost(call, out.data()); },
        OVOXEL_ON_DEVICE(textureOnDevice(workspace, call, out.data())));
}

void textureGradPy(const std::vector<Floats>& levels, const Floats& uv, const std::optional<Floats>& uvDa,
                   const std::optional<Floats>& bias, int filter, int boundary, const Floats& gradOut,
                   const std::vector<OutFloats>& gradLevels, const std::optional<OutFloats>& gradUv,
                   const std::optional<OutFloats>& gradUvDa, const std::optional<OutFloats>& gradBias,
                   const Launch& launch) {
    TextureGrad grad{};
    grad.call = textureCall(levels, uv, uvDa, bias, filter, boundary, launch);
    const int64_t batch = size(uv, 0), pixels = size(uv, 1);
    check(gradOut, "grad_out", {batch, pixels, grad.call.channels}, launch);
    grad.gradOut = gradOut.data();
    grad.gradUv = pointer(gradUv, "grad_uv", {batch, pixels, 2}, launch);
    grad.gradUvDa = pointer(gradUvDa, "grad_uv_da", {batch, pixels, 4}, launch);
    grad.gradBias = pointer(gradBias, "grad_bias", {batch, pixels}, launch);
    if (grad.gradUvDa && !grad.call.uvDa) throw std::invalid_argument("grad_uv_da needs uv_da");
    if (!gradLevels.empty() && gradLevels.size() != levels.size())
        throw std::invalid_argument("wrong number of grad_levels");
    for (size_t l = 0; l < gradLevels.size(); ++l) {
        check(gradLevels[l], "grad_levels",
              {size(levels[l], 0), size(levels[l], 1), size(levels[l], 2), size(levels[l], 3)}, launch);
        grad.gradLevel[l] = gradLevels[l].data();
    }
    run(
        launch, [&] { textureGradOnHost(grad); }, OVOXEL_ON_DEVICE(textureGradOnDevice(workspace, grad)));
}

// chain[0] is the texture; chain[1 ..] are written, each from the one before.
void buildMipsPy(const std::vector<OutFloats>& chain, const Launch& launch) {
    for (size_t l = 0; l + 1 < chain.size(); ++l) {
        check(chain[l], "tex", {-1, -1, -1, -1}, launch);
        const Downsample step{chain[l].data(), chain[l + 1].data(), size(chain[l], 0),
                              static_cast<int32_t>(size(chain[l], 1)), static_cast<int32_t>(size(chain[l], 2)),
                              size(chain[l], 3)};
        check(chain[l + 1], "mip",
              {step.batch, Downsample::half(step.height), Downsample::half(step.width), step.channels}, launch);
        run(
            launch, [&] { downsampleOnHost(step); }, OVOXEL_ON_DEVICE(downsampleOnDevice(workspace, step)));
    }
}

// grads[l] is the gradient of level l; each is added to the one before, from the smallest on.
void buildMipsGradPy(const std::vector<OutFloats>& grads, const Launch& launch) {
    for (size_t l = grads.size(); l-- > 1;) {
        check(grads[l - 1], "grad", {-1, -1, -1, -1}, launch);
        const Downsample step{nullptr, nullptr, size(grads[l - 1], 0), static_cast<int32_t>(size(grads[l - 1], 1)),
                              static_cast<int32_t>(size(grads[l - 1], 2)), size(grads[l - 1], 3)};
        check(grads[l], "grad",
              {step.batch, Downsample::half(step.height), Downsample::half(step.width), step.channels}, launch);
        const DownsampleGrad grad{step, grads[l - 1].data(), grads[l].data()};
        run(
            launch, [&] { downsampleGradOnHost(grad); }, OVOXEL_ON_DEVICE(downsampleGradOnDevice(workspace, grad)));
    }
}

void edgeNeighboursPy(const Ints& tri, const OutInts& out, const Launch& launch) {
    check(tri, "tri", {-1, 3}, launch);
    check(out, "out", {size(tri, 0), 3}, launch);
    run(
        launch, [&] { edgeNeighboursOnHost(tri.data(), size(tri, 0), out.data()); },
        OVOXEL_ON_DEVICE(edgeNeighboursOnDevice(workspace, tri.data(), size(tri, 0), out.data())));
}

AntialiasCall antialiasCall(const Floats& color, const Floats& rast, const Floats& pos, const Ints& tri,
                            const Ints& opposite, const Launch& launch) {
    check(color, "color", {-1, -1, -1, -1}, launch);
    const int64_t batch = size(color, 0), height = size(color, 1), width = size(color, 2);
    check(rast, "rast", {batch, height, width, 4}, launch);
    check(pos, "pos", {-1, -1, 4}, launch);
    check(tri, "tri", {-1, 3}, launch);
    check(opposite, "opposite", {size(tri, 0), 3}, launch);
    if ((size(pos, 0) != 1 && size(pos, 0) != batch) || height > 32768 || width > 32768)
        throw std::invalid_argument("wrong shape of pos or color");
    return {color.data(), rast.data(), cornerPointer(pos), size(pos, 0) > 1, size(pos, 1),
            tri.data(), opposite.data(), size(tri, 0), batch,
            Viewport(static_cast<int32_t>(height), static_cast<int32_t>(width)), size(color, 3)};
}

void antialiasPy(const Floats& color, const Floats& rast, const Floats& pos, const Ints& tri, const Ints& opposite,
                 const OutFloats& alphas, const OutFloats& out, const Launch& launch) {
    const AntialiasCall call = antialiasCall(color, rast, pos, tri, opposite, launch);
    check(alphas, "alphas", {call.batch, call.view.height, call.view.width, 2}, launch);
    check(out, "out", {call.batch, call.view.height, call.view.width, call.channels}, launch);
    run(
        launch, [&] { antialiasOnHost(call, alphas.data(), out.data()); },
        OVOXEL_ON_DEVICE(antialiasOnDevice(workspace, call, alphas.data(), out.data())));
}

void antialiasGradPy(const Floats& color, const Floats& rast, const Floats& pos, const Ints& tri, const Ints& opposite,
                     const Floats& alphas, const Floats& gradOut, const std::optional<OutFloats>& gradColor,
                     const std::optional<OutFloats>& gradPos, const Launch& launch) {
    const AntialiasCall call = antialiasCall(color, rast, pos, tri, opposite, launch);
    check(alphas, "alphas", {call.batch, call.view.height, call.view.width, 2}, launch);
    check(gradOut, "grad_out", {call.batch, call.view.height, call.view.width, call.channels}, launch);
    const AntialiasGrad grad{
        call, alphas.data(), gradOut.data(),
        pointer(gradColor, "grad_color", {call.batch, call.view.height, call.view.width, call.channels}, launch),
        pointer(gradPos, "grad_pos", {size(pos, 0), size(pos, 1), 4}, launch)};
    run(
        launch, [&] { antialiasGradOnHost(grad); }, OVOXEL_ON_DEVICE(antialiasGradOnDevice(workspace, grad)));
}

}  // namespace

void bindTriangles(nb::module_& m) {
    using nb::arg;
    m.def("rasterize", &rasterizePy, arg("pos"), arg("tri"), arg("rast"), arg("db").none(), arg("peel").none(),
          arg("ranges").none(), arg("launch").none(),
          "Draw pos [B or 1,V,4], tri [F,3] (rows by ranges [B,2], on CPU) into rast and db [B,H,W,4].");
    m.def("rasterize_grad", &rasterizeGradPy, arg("pos"), arg("tri"), arg("rast"), arg("grad_rast").none(),
          arg("grad_db").none(), arg("grad_pos"), arg("launch").none(), "Add to grad_pos, shaped like pos [B or 1,V,4].");
    m.def("interpolate", &interpolatePy, arg("attr"), arg("tri"), arg("rast"), arg("db").none(), arg("chosen"),
          arg("out"), arg("out_da"), arg("launch").none(), "attr [B or 1,V,C] at rast [B,P,4]: out [B,P,C].");
    m.def("interpolate_grad", &interpolateGradPy, arg("attr"), arg("tri"), arg("rast"), arg("db").none(), arg("chosen"),
          arg("grad_out").none(), arg("grad_da").none(), arg("grad_attr").none(), arg("grad_rast").none(),
          arg("grad_db").none(), arg("launch").none(), "Add to grad_attr, write grad_rast and grad_db.");
    m.def("texture", &texturePy, arg("levels"), arg("uv"), arg("uv_da").none(), arg("bias").none(), arg("filter"),
          arg("boundary"), arg("out"), arg("launch").none(), "Sample levels [B or 1,H,W,C] at uv [B,P,2].");
    m.def("texture_grad", &textureGradPy, arg("levels"), arg("uv"), arg("uv_da").none(), arg("bias").none(),
          arg("filter"), arg("boundary"), arg("grad_out"), arg("grad_levels"), arg("grad_uv").none(),
          arg("grad_uv_da").none(), arg("grad_bias").none(), arg("launch").none(),
          "Add to grad_levels, write the others.");
    m.def("build_mips", &buildMipsPy, arg("chain"), arg("launch").none(), "Fill chain[1:] from chain[0] [B,H,W,C].");
    m.def("build_mips_grad", &buildMipsGradPy, arg("grads"), arg("launch").none(), "Add grads[1:] into grads[0].");
    m.def("edge_neighbours", &edgeNeighboursPy, arg("tri"), arg("out"), arg("launch").none(),
          "Vertex across each edge, int32 [F,3].");
    m.def("antialias", &antialiasPy, arg("color"), arg("rast"), arg("pos"), arg("tri"), arg("opposite"),
          arg("alphas"), arg("out"), arg("launch").none(),
          "Blend color [B,H,W,C] across silhouettes; also writes alphas [B,H,W,2].");
    m.def("antialias_grad", &antialiasGradPy, arg("color"), arg("rast"), arg("pos"), arg("tri"), arg("opposite"),
          arg("alphas"), arg("grad_out"), arg("grad_color").none(), arg("grad_pos").none(), arg("launch").none(),
          "Write grad_color, add to grad_pos.");
}

}  // namespace ovoxel
