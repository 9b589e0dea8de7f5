#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>

#include <array>
#include <optional>

#include <nanobind/stl/optional.h>

#include "common/array.h"
#include "common/host_workspace.h"
#include "dualmesh/dual_mesh.h"
#ifdef OVOXEL_WITH_CUDA
#include "common/tensor_workspace.h"
#endif

namespace nb = nanobind;

namespace ovoxel {
namespace {

using Vector = std::array<double, 3>;

template <class Device, class T, class... Shape>
using Array = nb::ndarray<const T, nb::c_contig, Device, Shape...>;
template <class Device, class T>
using Rows3 = Array<Device, T, nb::shape<-1, 3>>;
template <class Device, class T>
using Column = Array<Device, T, nb::shape<-1>>;
template <class Device>
using Quads = Array<Device, int32_t, nb::shape<-1, 4>>;

template <class T, class Device>
DualGridView<T> viewGrid(const Rows3<Device, int32_t>& coords, const T* local, const bool* flags, const T* weight,
                         const Vector& voxelSize, const Vector& origin, const std::array<int64_t, 3>& gridSize) {
    const int64_t n = static_cast<int64_t>(coords.shape(0));
    if (n >= kMaxDualVoxels) throw nb::value_error("coords must have fewer than 2^29 rows");
    DualGridView<T> grid{coords.data(), local, flags, weight, n, {}, {}, {}};
    for (int a = 0; a < 3; ++a) {
        if (gridSize[a] < 1 || gridSize[a] > (int64_t{1} << 20)) throw nb::value_error("grid_size must be in [1, 2^20]");
        grid.voxelSize[a] = static_cast<T>(voxelSize[a]);
        grid.origin[a] = static_cast<T>(origin[a]);
        grid.gridSize[a] = static_cast<int32_t>(gridSize[a]);
    }
    return grid;
}

template <class T, class Space>
nb::tuple result(Space& workspace, const DualMesh<T>& mesh, bool train) {
    if (!train) return nb::make_tuple(mesh.numQuads, workspace.take(mesh.vertices), workspace.take(mesh.triangles));
    return nb::make_tuple(mesh.numQuads, workspace.take(mesh.vertices), workspace.take(mesh.triangles),
                          workspace.take(mesh.quads), workspace.take(mesh.first), workspace.take(mesh.complete),
                          workspace.take(mesh.slots));
}

template <class T, class Device, class Space, class Run>
nb::tuple forward(Space& workspace, const Rows3<Device, int32_t>& coords, const Rows3<Device, T>& local,
                  const Rows3<Device, bool>& flags, const std::optional<Column<Device, T>>& weight,
                  const Vector& voxelSize, const Vector& origin, const std::array<int64_t, 3>& gridSize, int split,
                  bool train, Run run) {
    if (local.shape(0) != coords.shape(0) || flags.shape(0) != coords.shape(0) ||
        (weight && weight->shape(0) != coords.shape(0)))
        throw nb::value_error("coords, local, flags and weight differ in length");
    if (split < 0 || split > 2 || (!weight && (train || split == 0))) throw nb::value_error("the split needs weights");
    const DualGridView<T> grid = viewGrid<T>(coords, local.data(), flags.data(), weight ? weight->data() : nullptr,
                                             voxelSize, origin, gridSize);
    DualMesh<T> mesh;
    {
        const nb::gil_scoped_release release;
        mesh = run(workspace, grid, static_cast<Split>(split), train);
    }
    return result(workspace, mesh, train);
}

template <class T, class Device, class Space, class Run>
nb::tuple backward(Space& workspace, const Rows3<Device, int32_t>& coords, const Column<Device, T>& weight,
                   const Rows3<Device, T>& vertices, const Quads<Device>& quads, const Column<Device, uint8_t>& first,
                   const Column<Device, uint8_t>& complete, const Column<Device, uint8_t>& slots,
                   const Rows3<Device, T>& gradVertices, const Vector& voxelSize,
                   const std::array<int64_t, 3>& gridSize, Run run) {
    const size_t n = coords.shape(0), numQuads = quads.shape(0);
    const auto capacity = static_cast<size_t>(tableCapacity(static_cast<int64_t>(n)));
    if (weight.shape(0) != n || vertices.shape(0) != n + numQuads || gradVertices.shape(0) != n + numQuads ||
        first.shape(0) < 4 * n || complete.shape(0) < n || slots.shape(0) < sizeof(VoxelTable::Slot) * capacity)
        throw nb::value_error("not what the forward pass of these coords kept");
    const DualGridView<T> grid =
        viewGrid<T>(coords, static_cast<const T*>(nullptr), nullptr, weight.data(), voxelSize, {}, gridSize);
    DualMesh<T> mesh;  // read only
    mesh.numQuads = static_cast<int64_t>(numQuads);
    mesh.vertices = const_cast<T*>(vertices.data());
    mesh.quads = const_cast<int32_t*>(quads.data());
    mesh.first = reinterpret_cast<uint32_t*>(const_cast<uint8_t*>(first.data()));
    mesh.complete = const_cast<uint8_t*>(complete.data());
    mesh.slots = reinterpret_cast<VoxelTable::Slot*>(const_cast<uint8_t*>(slots.data()));
    T* gradLocal = workspace.template allocate<T>(3 * grid.n);
    T* gradWeight = workspace.template allocate<T>(grid.n);
    {
        const nb::gil_scoped_release release;
        run(workspace, grid, mesh, gradVertices.data(), gradLocal, gradWeight);
    }
    return nb::make_tuple(workspace.take(gradLocal), workspace.take(gradWeight));
}

template <class T>
void bindHost(nb::module_& m) {
    using Host = nb::device::cpu;
    m.def("dual_mesh", [](Rows3<Host, int32_t> coords, Rows3<Host, T> local, Rows3<Host, bool> flags,
                          std::optional<Column<Host, T>> weight, Vector voxelSize, Vector origin,
                          std::array<int64_t, 3> gridSize, int split, bool train) {
        HostWorkspace workspace;
        return forward<T, Host>(workspace, coords, local, flags, weight, voxelSize, origin, gridSize, split, train,
                                dualMesh<T>);
    }, nb::arg("coords").noconvert(), nb::arg("local").noconvert(), nb::arg("flags").noconvert(),
       nb::arg("weight").noconvert().none(), nb::arg("voxel_size"), nb::arg("origin"), nb::arg("grid_size"),
       nb::arg("split"), nb::arg("train"),
       "coords int32 [N, 3], local [N, 3], flags bool [N, 3], weight [N] or None -> (number of quads, bytes of vertices "
       "[N, 3] and triangles int32 [2L, 3]); with train [N+L, 3] and [4L, 3] and what dual_mesh_backward takes.");
    m.def("dual_mesh_backward", [](Rows3<Host, int32_t> coords, Column<Host, T> weight, Rows3<Host, T> vertices,
                                   Quads<Host> quads, Column<Host, uint8_t> first, Column<Host, uint8_t> complete,
                                   Column<Host, uint8_t> slots, Rows3<Host, T> gradVertices, Vector voxelSize,
                                   std::array<int64_t, 3> gridSize) {
        HostWorkspace workspace;
        return backward<T, Host>(workspace, coords, weight, vertices, quads, first, complete, slots, gradVertices,
                                 voxelSize, gridSize, dualMeshBackward<T>);
    }, nb::arg("coords").noconvert(), nb::arg("weight").noconvert(), nb::arg("vertices").noconvert(),
       nb::arg("quads").noconvert(), nb::arg("first").noconvert(), nb::arg("complete").noconvert(),
       nb::arg("slots").noconvert(), nb::arg("grad_vertices").noconvert(), nb::arg("voxel_size"),
       nb::arg("grid_size"), "Gradients of the training form: bytes of those by local [N, 3] and weight [N].");
}

#ifdef OVOXEL_WITH_CUDA
template <class T>
void bindCuda(nb::module_& m) {
    using Cuda = nb::device::cuda;
    m.def("dual_mesh_cuda", [](Rows3<Cuda, int32_t> coords, Rows3<Cuda, T> local, Rows3<Cuda, bool> flags,
                               std::optional<Column<Cuda, T>> weight, Vector voxelSize, Vector origin,
                               std::array<int64_t, 3> gridSize, int split, bool train, nb::tuple launch) {
        TensorWorkspace workspace(launch);
        return forward<T, Cuda>(workspace, coords, local, flags, weight, voxelSize, origin, gridSize, split, train,
                                dualMeshOnDevice<T>);
    }, nb::arg("coords").noconvert(), nb::arg("local").noconvert(), nb::arg("flags").noconvert(),
       nb::arg("weight").noconvert().none(), nb::arg("voxel_size"), nb::arg("origin"), nb::arg("grid_size"),
       nb::arg("split"), nb::arg("train"), nb::arg("launch"), "dual_mesh on a GPU.");
    m.def("dual_mesh_backward_cuda", [](Rows3<Cuda, int32_t> coords, Column<Cuda, T> weight, Rows3<Cuda, T> vertices,
                                        Quads<Cuda> quads, Column<Cuda, uint8_t> first, Column<Cuda, uint8_t> complete,
                                        Column<Cuda, uint8_t> slots, Rows3<Cuda, T> gradVertices, Vector voxelSize,
                                        std::array<int64_t, 3> gridSize, nb::tuple launch) {
        TensorWorkspace workspace(launch);
        return backward<T, Cuda>(workspace, coords, weight, vertices, quads, first, complete, slots, gradVertices,
                                 voxelSize, gridSize, dualMeshBackwardOnDevice<T>);
    }, nb::arg("coords").noconvert(), nb::arg("weight").noconvert(), nb::arg("vertices").noconvert(),
       nb::arg("quads").noconvert(), nb::arg("first").noconvert(), nb::arg("complete").noconvert(),
       nb::arg("slots").noconvert(), nb::arg("grad_vertices").noconvert(), nb::arg("voxel_size"),
       nb::arg("grid_size"), nb::arg("launch"), "dual_mesh_backward on a GPU.");
}
#endif

}  // namespace

void bindDualMesh(nb::module_& m) {
    bindHost<float>(m);
    bindHost<double>(m);
#ifdef OVOXEL_WITH_CUDA
    bindCuda<float>(m);
    bindCuda<double>(m);
#endif
}

}  // namespace ovoxel
