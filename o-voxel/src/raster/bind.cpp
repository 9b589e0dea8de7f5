// Bindings of the rasterisers. Arrays are C-contiguous CPU views; results go into a preallocated output.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <optional>
#include <stdexcept>

#include "raster/rasterize.h"
#include "raster/shade.h"
#include "raster/voxel_render.h"

namespace nb = nanobind;

namespace ovoxel {
namespace {

template <class T, int N>
using View = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;

void rasterizeBinding(const View<const float, 3>& pos, const View<const int32_t, 2>& tri, const View<float, 4>& out,
                      const std::optional<View<const float, 3>>& peel) {
    const int64_t batch = static_cast<int64_t>(pos.shape(0)), height = static_cast<int64_t>(out.shape(1)),
                  width = static_cast<int64_t>(out.shape(2));
    if (pos.shape(2) != 4 || tri.shape(1) != 3 || out.shape(3) != 4 || out.shape(0) != pos.shape(0))
        throw std::invalid_argument("rasterize: expected pos [B, V, 4], tri [F, 3] and out [B, H, W, 4]");
    if (height > 32768 || width > 32768) throw std::invalid_argument("rasterize: resolution must be at most 32768");
    if (peel && (peel->shape(0) != out.shape(0) || peel->shape(1) != out.shape(1) || peel->shape(2) != out.shape(2)))
        throw std::invalid_argument("rasterize: peel must be [B, H, W]");
    const nb::gil_scoped_release release;
    for (int64_t b = 0; b < batch; ++b) {
        const RasterInput input{pos.data() + b * static_cast<int64_t>(pos.shape(1)) * 4,
                                static_cast<int64_t>(pos.shape(1)),
                                tri.data(),
                                static_cast<int64_t>(tri.shape(0)),
                                static_cast<int32_t>(height),
                                static_cast<int32_t>(width),
                                peel ? peel->data() + b * height * width : nullptr};
        rasterizeTriangles(input, out.data() + b * height * width * 4);
    }
}

// attr [B or 1, V, C], tri [F, 3], rast [B, P, 4] -> out [B, P, C]
void interpolateBinding(const View<const float, 3>& attr, const View<const int32_t, 2>& tri,
                        const View<const float, 3>& rast, const View<float, 3>& out) {
    if (tri.shape(1) != 3 || rast.shape(2) != 4 || out.shape(0) != rast.shape(0) || out.shape(1) != rast.shape(1) ||
        out.shape(2) != attr.shape(2) || (attr.shape(0) != 1 && attr.shape(0) != rast.shape(0)))
        throw std::invalid_argument("interpolate: expected attr [B or 1, V, C], tri [F, 3], rast [B, P, 4], out [B, P, C]");
    const auto stride = static_cast<int64_t>(attr.shape(0) > 1 ? attr.shape(1) * attr.shape(2) : 0);
    const nb::gil_scoped_release release;
    interpolateAttributes(attr.data(), static_cast<int64_t>(attr.shape(1)), static_cast<int64_t>(attr.shape(2)), stride,
                          tri.data(), static_cast<int64_t>(tri.shape(0)), rast.data(),
                          static_cast<int64_t>(rast.shape(0) * rast.shape(1)), static_cast<int64_t>(rast.shape(1)),
                          out.data());
}

// texture [B or 1, H, W, C], uv [B, P, 2] -> out [B, P, C]
void textureBinding(const View<const float, 4>& texture, const View<const float, 3>& uv, const View<float, 3>& out,
                    bool linear, int boundary) {
    if (uv.shape(2) != 2 || out.shape(0) != uv.shape(0) || out.shape(1) != uv.shape(1) ||
        out.shape(2) != texture.shape(3) || (texture.shape(0) != 1 && texture.shape(0) != uv.shape(0)) ||
        texture.shape(1) == 0 || texture.shape(2) == 0 || boundary < 0 || boundary > 3)
        throw std::invalid_argument("texture: expected texture [B or 1, H, W, C], uv [B, P, 2], out [B, P, C]");
    const auto stride =
        static_cast<int64_t>(texture.shape(0) > 1 ? texture.shape(1) * texture.shape(2) * texture.shape(3) : 0);
    const nb::gil_scoped_release release;
    sampleTexture(texture.data(), static_cast<int64_t>(texture.shape(1)), static_cast<int64_t>(texture.shape(2)),
                  static_cast<int64_t>(texture.shape(3)), stride, uv.data(),
                  static_cast<int64_t>(uv.shape(0) * uv.shape(1)), static_cast<int64_t>(uv.shape(1)), linear,
                  static_cast<Boundary>(boundary), out.data());
}

// camera: origin 3, rays 9, world to camera 12, projection 6, near, far, cull depth (33 doubles).
void renderVoxelsBinding(const View<const float, 2>& position, const View<const double, 1>& half,
                         const View<const double, 1>& camera, bool orderByCentre, const View<int32_t, 2>& index,
                         const View<float, 2>& depth) {
    if (position.shape(1) != 3 || half.shape(0) != 3 || camera.shape(0) != 33 || index.shape(0) != depth.shape(0) ||
        index.shape(1) != depth.shape(1))
        throw std::invalid_argument("render_voxels: expected position [N, 3], half [3], camera [33], index, depth [H, W]");
    if (position.shape(0) >= (size_t{1} << 31) || index.shape(0) > 32768 || index.shape(1) > 32768)
        throw std::invalid_argument("render_voxels: too many voxels or pixels");
    VoxelCamera c{};
    const double* value = camera.data();
    for (double* field : {c.origin, c.rayX, c.rayY, c.rayZ})
        for (int i = 0; i < 3; ++i) field[i] = *value++;
    for (double& m : c.worldToCam) m = *value++;
    for (double& m : c.pixel) m = *value++;
    c.near = *value++;
    c.far = *value++;
    c.cullDepth = *value++;
    c.orderByCentre = orderByCentre;
    const double extent[3] = {half.data()[0], half.data()[1], half.data()[2]};
    const nb::gil_scoped_release release;
    renderVoxels(position.data(), static_cast<int64_t>(position.shape(0)), extent, c,
                 static_cast<int32_t>(index.shape(0)), static_cast<int32_t>(index.shape(1)), index.data(), depth.data());
}

}  // namespace

void bindRaster(nb::module_& m) {
    m.def("rasterize_triangles", &rasterizeBinding, nb::arg("pos"), nb::arg("tri"), nb::arg("out"),
          nb::arg("peel").none() = nb::none(), "Rasterise pos [B,V,4], tri [F,3] into out [B,H,W,4].");
    m.def("interpolate_attributes", &interpolateBinding, nb::arg("attr"), nb::arg("tri"), nb::arg("rast"), nb::arg("out"),
          "Interpolate attr [B or 1,V,C] at rast [B,P,4] into out [B,P,C].");
    m.def("sample_texture", &textureBinding, nb::arg("texture"), nb::arg("uv"), nb::arg("out"), nb::arg("linear"),
          nb::arg("boundary"), "Sample texture [B or 1,H,W,C] at uv [B,P,2]; boundary 0 wrap, 1 clamp, 2 mirror, 3 zero.");
    m.def("render_voxels", &renderVoxelsBinding, nb::arg("position"), nb::arg("half"), nb::arg("camera"),
          nb::arg("order_by_centre"), nb::arg("index"), nb::arg("depth"),
          "First box hit per pixel: index [H,W] (-1 none) and camera depth [H,W].");
}

}  // namespace ovoxel
