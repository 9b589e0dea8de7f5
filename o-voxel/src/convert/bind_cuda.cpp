// Bindings of the conversions on a GPU. The Python side has checked what lies in device memory.
#ifdef OVOXEL_WITH_CUDA
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>

#include "common/tensor_workspace.h"
#include "convert/dual_grid.h"
#include "convert/grid_binding.h"

namespace nb = nanobind;

namespace ovoxel {
namespace {

nb::tuple meshToDualGridCudaPy(DeviceArray<float, nb::shape<-1, 3>> vertices,
                               DeviceArray<int32_t, nb::shape<-1, 3>> faces, std::array<float, 3> voxelSize,
                               std::array<int64_t, 3> gridSize, double faceWeight, double boundaryWeight,
                               double regularizationWeight, bool oddCrossings, bool published, int64_t chunkWork,
                               nb::tuple launch) {
    const GridSpec g = makeGrid(voxelSize, gridSize, published);
    const MeshView mesh{vertices.data(), faces.data(), static_cast<int64_t>(vertices.shape(0)),
                        static_cast<int64_t>(faces.shape(0))};
    TensorWorkspace workspace(launch);
    DeviceDualGrid grid;
    {
        const nb::gil_scoped_release release;
        grid = meshToDualGridOnDevice(workspace, g, mesh,
                                      {faceWeight, boundaryWeight, regularizationWeight, oddCrossings}, chunkWork);
    }
    return nb::make_tuple(grid.count, workspace.take(grid.coords), workspace.take(grid.dualVertices),
                          workspace.take(grid.intersected));
}

}  // namespace

void bindConvertCuda(nb::module_& m) {
    m.def("mesh_to_dual_grid_cuda", &meshToDualGridCudaPy, nb::arg("vertices"), nb::arg("faces"),
          nb::arg("voxel_size"), nb::arg("grid_size"), nb::arg("face_weight"), nb::arg("boundary_weight"),
          nb::arg("regularization_weight"), nb::arg("odd_crossings"), nb::arg("published"), nb::arg("chunk_work"),
          nb::arg("launch"), "mesh_to_dual_grid on a GPU -> (N, bytes of the coords, dual vertices and flags).");
}

}  // namespace ovoxel
#endif
