#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>

#include <array>

#include "common/array.h"
#include "convert/dual_grid.h"
#include "convert/dual_mesh.h"

namespace nb = nanobind;

namespace ovoxel {
namespace {

GridSpec makeGrid(const std::array<float, 3>& size, const std::array<int64_t, 3>& count, bool published) {
    GridSpec g;
    for (int a = 0; a < 3; ++a) {
        if (!(size[a] > 0) || count[a] < 1 || count[a] > (int64_t{1} << 20))
            throw nb::value_error("voxel_size must be positive and grid_size in [1, 2^20]");
        g.size[a] = static_cast<double>(size[a]);
        g.count[a] = count[a];
    }
    g.published = published;
    return g;
}

void checkMesh(const HostArray<float, nb::shape<-1, 3>>& vertices, const HostArray<int32_t, nb::shape<-1, 3>>& faces) {
    const int64_t v = static_cast<int64_t>(vertices.shape(0));
    for (size_t i = 0; i < vertices.size(); ++i)
        if (!std::isfinite(vertices.data()[i])) throw nb::value_error("vertices must be finite");
    for (size_t i = 0; i < faces.size(); ++i)
        if (faces.data()[i] < 0 || faces.data()[i] >= v) throw nb::value_error("faces must index vertices");
}

nb::tuple meshToDualGridPy(HostArray<float, nb::shape<-1, 3>> vertices, HostArray<int32_t, nb::shape<-1, 3>> faces,
                           std::array<float, 3> voxelSize, std::array<int64_t, 3> gridSize, double faceWeight,
                           double boundaryWeight, double regularizationWeight, bool published) {
    const GridSpec g = makeGrid(voxelSize, gridSize, published);
    checkMesh(vertices, faces);
    DualGrid grid;
    {
        nb::gil_scoped_release release;
        const MeshView mesh{vertices.data(), faces.data(), static_cast<int64_t>(vertices.shape(0)),
                            static_cast<int64_t>(faces.shape(0))};
        grid = meshToDualGrid(g, mesh, {faceWeight, boundaryWeight, regularizationWeight});
    }
    const size_t n = grid.coords.size() / 3;
    return nb::make_tuple(toNumpy(std::move(grid.coords), {n, 3}), toNumpy(std::move(grid.dualVertices), {n, 3}),
                          toNumpy(std::move(grid.intersected), {n, 3}));
}

nb::ndarray<nb::numpy, int32_t> dualQuadsPy(HostArray<int32_t, nb::shape<-1, 3>> coords,
                                            HostArray<bool, nb::shape<-1, 3>> intersected,
                                            std::array<int64_t, 3> gridSize) {
    if (coords.shape(0) != intersected.shape(0)) throw nb::value_error("coords and intersected differ in length");
    std::vector<int32_t> quads;
    {
        nb::gil_scoped_release release;
        quads = dualQuads(coords.data(), intersected.data(), static_cast<int64_t>(coords.shape(0)), gridSize.data());
    }
    const size_t n = quads.size() / 4;
    return toNumpy(std::move(quads), {n, 4});
}

}  // namespace

void bindConvert(nb::module_& m) {
    m.def("mesh_to_dual_grid", &meshToDualGridPy, nb::arg("vertices"), nb::arg("faces"), nb::arg("voxel_size"),
          nb::arg("grid_size"), nb::arg("face_weight"), nb::arg("boundary_weight"), nb::arg("regularization_weight"),
          nb::arg("published"), "Box-relative mesh -> (coords int32, dual vertices float32, flags uint8), each [N, 3].");
    m.def("dual_quads", &dualQuadsPy, nb::arg("coords"), nb::arg("intersected"), nb::arg("grid_size"),
          "Rows of the four voxels around each crossed edge, int32 [L, 4].");
}

}  // namespace ovoxel
