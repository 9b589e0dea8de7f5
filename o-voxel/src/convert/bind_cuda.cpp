// Bindings of the conversions on a GPU. The Python side has checked what lies in device memory.
#ifdef OVOXEL_WITH_CUDA
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>

#include <optional>

#include "common/tensor_workspace.h"
#include "convert/attr_binding.h"
#include "convert/dual_grid.h"
#include "convert/grid_binding.h"
#include "convert/mip_body.h"
#include "convert/volumetric_attr.h"

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

// The triangles' arrays, the levels and decode tables of the textures and the steps are in device memory.
nb::tuple texturedTrianglesToAttrCudaPy(DeviceArray<float, nb::shape<-1, 3, 3>> triangles,
                                        DeviceArray<float, nb::shape<-1, 3, 3>> normals,
                                        DeviceArray<float, nb::shape<-1, 3, -1, 2>> uvs,
                                        DeviceArray<float, nb::shape<-1, 3, 4>> colors,
                                        DeviceArray<int32_t, nb::shape<-1>> materialIds, Factors factors, Slots slots,
                                        nb::list textures, DeviceArray<double, nb::shape<255>> srgbSteps,
                                        DeviceArray<uint8_t, nb::shape<4096>> srgbGuess,
                                        std::array<float, 3> voxelSize, std::array<int64_t, 3> gridSize,
                                        double mipLevelOffset, bool published, int64_t chunkWork, nb::tuple launch) {
    const GridSpec g = makeGrid(voxelSize, gridSize, published);
    AttrInput in = makeAttrInput(triangles, normals, uvs, colors, materialIds, mipLevelOffset);
    const TextureSet<DeviceArray<uint8_t, nb::shape<-1, -1, -1>>, DeviceArray<float, nb::shape<256>>> set(textures);
    const std::vector<Material> materials = makeMaterials(factors, slots, set.views, uvs.shape(2));
    TensorWorkspace workspace(launch);
    DeviceVolumetricAttr attr;
    {
        const nb::gil_scoped_release release;
        attr = texturedTrianglesToAttrOnDevice(workspace, g, in, materials, set.views, {srgbSteps.data(), srgbGuess.data(), published},
                                               chunkWork);
    }
    nb::list values;
    for (int i = 0; i < 6; ++i) values.append(workspace.take(attr.values.array[i]));
    return nb::make_tuple(attr.count, workspace.take(attr.coords), values);
}

nb::list mipLevelsCudaPy(DeviceArray<uint8_t, nb::shape<-1, -1, -1>> image, DeviceArray<float, nb::shape<256>> decode,
                         std::optional<DeviceArray<uint8_t, nb::shape<65536>>> encode, nb::tuple launch) {
    if (image.size() == 0) throw nb::value_error("image must not be empty");
    const MipShapes shapes(static_cast<int64_t>(image.shape(0)), static_cast<int64_t>(image.shape(1)));
    TensorWorkspace workspace(launch);
    std::vector<uint8_t*> levels;
    for (const auto& shape : shapes.levels)
        levels.push_back(workspace.allocate<uint8_t>(static_cast<int64_t>(shape[0] * shape[1] * image.shape(2))));
    makeMipLevelsOnDevice(workspace, image.data(), static_cast<int64_t>(image.shape(0)),
                          static_cast<int64_t>(image.shape(1)), static_cast<int>(image.shape(2)),
                          {decode.data(), encode ? encode->data() : nullptr}, levels.data());
    nb::list out;
    for (uint8_t* level : levels) out.append(workspace.take(level));
    return out;
}

}  // namespace

void bindConvertCuda(nb::module_& m) {
    m.def("mesh_to_dual_grid_cuda", &meshToDualGridCudaPy, nb::arg("vertices"), nb::arg("faces"),
          nb::arg("voxel_size"), nb::arg("grid_size"), nb::arg("face_weight"), nb::arg("boundary_weight"),
          nb::arg("regularization_weight"), nb::arg("odd_crossings"), nb::arg("published"), nb::arg("chunk_work"),
          nb::arg("launch"), "mesh_to_dual_grid on a GPU -> (N, bytes of the coords, dual vertices and flags).");
    m.def("textured_triangles_to_attr_cuda", &texturedTrianglesToAttrCudaPy, nb::arg("triangles"), nb::arg("normals"),
          nb::arg("uvs"), nb::arg("colors"), nb::arg("material_ids"), nb::arg("factors"), nb::arg("slots"),
          nb::arg("textures"), nb::arg("srgb_steps"), nb::arg("srgb_guess"), nb::arg("voxel_size"), nb::arg("grid_size"),
          nb::arg("mip_level_offset"), nb::arg("published"), nb::arg("chunk_work"), nb::arg("launch"),
          "textured_triangles_to_attr on a GPU -> (N, bytes of the coords, bytes of each array).");
    m.def("mip_levels_cuda", &mipLevelsCudaPy, nb::arg("image"), nb::arg("decode"), nb::arg("encode").none(),
          nb::arg("launch"), "mip_levels on a GPU -> list of the levels' bytes.");
}

}  // namespace ovoxel
#endif
