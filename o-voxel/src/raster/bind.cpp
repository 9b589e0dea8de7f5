// Bindings of the rasterisers. Arrays are C-contiguous CPU views; results go into a preallocated output.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>

#include "raster/voxel_render.h"

namespace nb = nanobind;

namespace ovoxel {
namespace {

template <class T, int N>
using View = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;

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

void bindTriangles(nb::module_& m);  // bind_triangles.cpp

void bindRaster(nb::module_& m) {
    bindTriangles(m);
    m.def("render_voxels", &renderVoxelsBinding, nb::arg("position"), nb::arg("half"), nb::arg("camera"),
          nb::arg("order_by_centre"), nb::arg("index"), nb::arg("depth"),
          "First box hit per pixel: index [H,W] (-1 none) and camera depth [H,W].");
}

}  // namespace ovoxel
