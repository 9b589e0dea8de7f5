// Bindings of the integer core: edges, components, holes. Host arguments are checked again here: a wrong index must never
// reach the loops.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <memory>
#include <optional>
#include <utility>

#include "common/array.h"
#include "common/host_workspace.h"
#include "mesh/components.h"
#include "mesh/edge_table.h"
#include "mesh/equal_rows.h"
#include "mesh/holes.h"
#ifdef OVOXEL_WITH_CUDA
#include "common/tensor_workspace.h"
#endif

namespace nb = nanobind;

namespace ovoxel {
namespace {

constexpr int64_t kMaxNodes = int64_t{1} << 31;

template <class Device>
using Pairs = nb::ndarray<const int64_t, nb::c_contig, Device, nb::shape<-1, 2>>;

void checkNodes(int64_t n) {
    if (n < 0 || n > kMaxNodes) throw nb::value_error("n must be 0 to 2^31");
}

void checkInside(const int64_t* values, size_t count, int64_t limit, const char* message) {
    for (size_t i = 0; i < count; ++i)
        if (values[i] < 0 || values[i] >= limit) throw nb::value_error(message);
}

template <class Device>
using Flags = nb::ndarray<const uint8_t, nb::c_contig, Device, nb::shape<-1>>;

template <class Space, class Device, class Find>
nb::tuple components(Space& workspace, int64_t n, const Pairs<Device>& pairs, const std::optional<Flags<Device>>& differ,
                     bool ordered, Find find) {
    const auto m = static_cast<int64_t>(pairs.shape(0));
    if (n < 0 || n >= kMaxNodes || m >= int64_t{mesh::kNoPair}) throw nb::value_error("n must be below 2^31");
    if (differ && differ->shape(0) != pairs.shape(0)) throw nb::value_error("differ must have one entry a pair");
    const mesh::Graph graph{pairs.data(), differ ? differ->data() : nullptr};
    mesh::ComponentsOut out{workspace.template allocate<int64_t>(n), nullptr, nullptr};
    if (differ) {
        out.parity = workspace.template allocate<uint8_t>(n);
        out.conflicts = workspace.template allocate<uint8_t>(m);
    }
    {
        const nb::gil_scoped_release release;
        find(workspace, n, graph, m, ordered, out);
    }
    const nb::object labels = workspace.take(out.labels);
    if (!differ) return nb::make_tuple(labels, nb::none(), nb::none());
    return nb::make_tuple(labels, workspace.take(out.parity), workspace.take(out.conflicts));
}

nb::tuple componentsPy(int64_t n, Pairs<nb::device::cpu> pairs, std::optional<Flags<nb::device::cpu>> differ,
                       bool ordered) {
    checkInside(pairs.data(), 2 * pairs.shape(0), n, "pairs must lie in [0, n)");
    HostWorkspace workspace;
    return components(workspace, n, pairs, differ, ordered, mesh::components);
}

nb::tuple edges(HostArray<int64_t, nb::shape<-1, 3>> faces) {
    checkInside(faces.data(), 3 * faces.shape(0), kMaxNodes, "faces must lie in [0, 2^31)");
    if (faces.shape(0) > size_t{1} << 30) throw nb::value_error("faces must have at most 2^30 rows");
    mesh::EdgeTable table;
    {
        const nb::gil_scoped_release release;
        table = mesh::buildEdges(faces.data(), static_cast<int64_t>(faces.shape(0)));
    }
    const size_t numEdges = table.counts.size(), numSides = 3 * faces.shape(0);
    return nb::make_tuple(toNumpy(std::move(table.edges), {numEdges, 2}), toNumpy(std::move(table.counts), {numEdges}),
                          toNumpy(std::move(table.sides), {numSides}), toNumpy(std::move(table.offsets), {numEdges + 1}));
}

nb::object firstEqual(HostArray<int32_t, nb::shape<-1, -1>> words) {
    const auto n = static_cast<int64_t>(words.shape(0));
    checkNodes(n);
    std::unique_ptr<int64_t[]> first(new int64_t[n > 0 ? n : 1]);
    {
        const nb::gil_scoped_release release;
        mesh::firstEqualRows(words.data(), n, static_cast<int64_t>(words.shape(1)), first.get());
    }
    return nb::cast(toNumpy(std::move(first), {words.shape(0)}));
}

using Indices = HostArray<int64_t, nb::shape<-1>>;

nb::tuple boundaryLoops(Indices start, Indices end) {
    if (start.shape(0) != end.shape(0)) throw nb::value_error("start and end must have one length");
    mesh::BoundaryLoops loops;
    {
        const nb::gil_scoped_release release;
        loops = mesh::boundaryLoops(start.data(), end.data(), static_cast<int64_t>(start.shape(0)));
    }
    const size_t numVertices = loops.vertices.size(), numOffsets = loops.offsets.size();
    return nb::make_tuple(toNumpy(std::move(loops.vertices), {numVertices}), toNumpy(std::move(loops.offsets), {numOffsets}));
}

nb::tuple closeLoops(HostArray<double, nb::shape<-1, 3>> positions, Indices offsets, Pairs<nb::device::cpu> chords) {
    const auto numVertices = static_cast<int64_t>(positions.shape(0));
    if (offsets.shape(0) == 0 || offsets(0) != 0 || offsets(offsets.shape(0) - 1) != numVertices)
        throw nb::value_error("offsets must run from 0 to the number of positions");
    for (size_t i = 1; i < offsets.shape(0); ++i)
        if (offsets(i) < offsets(i - 1) + 3 || offsets(i) - offsets(i - 1) > kMaxNodes / 2)
            throw nb::value_error("loops must have at least three vertices");
    checkInside(chords.data(), 2 * chords.shape(0), numVertices, "chords must lie in the list of positions");
    mesh::LoopPatches patches;
    {
        const nb::gil_scoped_release release;
        patches = mesh::closeLoops(positions.data(), offsets.data(), static_cast<int64_t>(offsets.shape(0)) - 1,
                                   chords.data(), static_cast<int64_t>(chords.shape(0)));
    }
    const size_t numFaces = patches.faces.size() / 3, numCentres = patches.centres.size() / 3;
    return nb::make_tuple(toNumpy(std::move(patches.faces), {numFaces, 3}),
                          toNumpy(std::move(patches.centres), {numCentres, 3}));
}

#ifdef OVOXEL_WITH_CUDA
nb::tuple componentsCudaPy(int64_t n, Pairs<nb::device::cuda> pairs, std::optional<Flags<nb::device::cuda>> differ,
                           bool ordered, nb::tuple launch) {
    TensorWorkspace workspace(launch);
    return components(workspace, n, pairs, differ, ordered, mesh::componentsOnDevice);
}
#endif

}  // namespace

void bindMeshTopology(nb::module_& m) {
    using namespace nb::literals;
    m.def("mesh_components", &componentsPy, "n"_a, "pairs"_a.noconvert(), "differ"_a.none().noconvert(), "ordered"_a,
          "-> bytes of (labels [n] int64: smallest member of each component, parity [n], conflicts [m] or None)");
    m.def("mesh_edges", &edges, "faces"_a.noconvert(),
          "-> (edges [E,2], faces of each [E], sides [3F] by edge, offsets [E + 1]), all i64");
    m.def("mesh_first_equal", &firstEqual, "words"_a.noconvert(),
          "Rows [N, K] -> the first row that is equal to each [N] i64");
    m.def("mesh_boundary_loops", &boundaryLoops, "start"_a.noconvert(), "end"_a.noconvert(),
          "Boundary sides -> (vertices of all loops, offsets [K + 1]), i64");
    m.def("mesh_close_loops", &closeLoops, "positions"_a.noconvert(), "offsets"_a.noconvert(), "chords"_a.noconvert(),
          "-> (faces [T,3] i64 of places in the list of positions, beyond it: centres; centres [C,3] f64)");
#ifdef OVOXEL_WITH_CUDA
    m.def("mesh_components_cuda", &componentsCudaPy, "n"_a, "pairs"_a.noconvert(), "differ"_a.none().noconvert(),
          "ordered"_a, "launch"_a, "mesh_components on a GPU; pairs must lie in [0, n), which is not checked.");
#endif
}

}  // namespace ovoxel
