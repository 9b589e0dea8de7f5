// Bindings of the voxel rasteriser; those of the triangle rasteriser are in bind_triangles.cpp.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>

#include <array>

#include "common/host_workspace.h"
#include "raster/voxel_render.h"
#ifdef OVOXEL_WITH_CUDA
#include "common/tensor_workspace.h"
#endif

namespace nb = nanobind;

namespace ovoxel {
namespace {

template <class Device>
using Positions = nb::ndarray<const float, nb::c_contig, Device, nb::shape<-1, 3>>;

// camera: origin 3, rays 9, world to camera 12, projection 6, near, far, cull depth (33 doubles).
VoxelScene makeScene(const float* position, size_t n, const std::array<double, 3>& half,
                     const std::array<double, 33>& camera, bool orderByCentre, int64_t height, int64_t width) {
    if (n >= (size_t{1} << 31) || height < 0 || width < 0 || height > 32768 || width > 32768)
        throw nb::value_error("render_voxels: too many voxels or pixels");
    VoxelScene scene{position, static_cast<int64_t>(n), {half[0], half[1], half[2]}, {}, static_cast<int32_t>(height),
                     static_cast<int32_t>(width)};
    VoxelCamera& c = scene.camera;
    const double* value = camera.data();
    for (double* field : {c.origin, c.rayX, c.rayY, c.rayZ})
        for (int i = 0; i < 3; ++i) field[i] = *value++;
    for (double& m : c.worldToCam) m = *value++;
    for (double& m : c.pixel) m = *value++;
    c.near = *value++;
    c.far = *value++;
    c.cullDepth = *value++;
    c.orderByCentre = orderByCentre;
    return scene;
}

template <class Space, class Run>
nb::tuple render(Space& workspace, const VoxelScene& scene, Run run) {
    const int64_t pixels = static_cast<int64_t>(scene.height) * scene.width;
    int32_t* index = workspace.template allocate<int32_t>(pixels);
    float* depth = workspace.template allocate<float>(pixels);
    {
        const nb::gil_scoped_release release;
        run(workspace, scene, index, depth);
    }
    return nb::make_tuple(workspace.take(index), workspace.take(depth));
}

}  // namespace

void bindTriangles(nb::module_& m);  // bind_triangles.cpp

void bindRaster(nb::module_& m) {
    bindTriangles(m);
    using namespace nb::literals;
    m.def("render_voxels", [](Positions<nb::device::cpu> position, std::array<double, 3> half,
                              std::array<double, 33> camera, bool orderByCentre, int64_t height, int64_t width) {
        HostWorkspace workspace;
        return render(workspace, makeScene(position.data(), position.shape(0), half, camera, orderByCentre, height, width),
                      renderVoxels);
    }, "position"_a.noconvert(), "half"_a, "camera"_a, "order_by_centre"_a, "height"_a, "width"_a,
       "First box hit per pixel: bytes of index int32 [H, W] (-1 none) and of camera depth float32 [H, W].");
#ifdef OVOXEL_WITH_CUDA
    m.def("render_voxels_cuda", [](Positions<nb::device::cuda> position, std::array<double, 3> half,
                                   std::array<double, 33> camera, bool orderByCentre, int64_t height, int64_t width,
                                   nb::tuple launch) {
        TensorWorkspace workspace(launch);
        return render(workspace, makeScene(position.data(), position.shape(0), half, camera, orderByCentre, height, width),
                      renderVoxelsOnDevice);
    }, "position"_a.noconvert(), "half"_a, "camera"_a, "order_by_centre"_a, "height"_a, "width"_a, "launch"_a,
       "render_voxels on a GPU.");
#endif
}

}  // namespace ovoxel
