// Bindings of the simplification: in rounds, on the CPU or a GPU, and one edge at a time. Arguments are checked again
// here: a wrong index must never reach the loops.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "common/array.h"
#include "common/host_workspace.h"
#include "mesh/collapse.h"
#include "mesh/simplify.h"
#ifdef OVOXEL_WITH_CUDA
#include "common/tensor_workspace.h"
#endif

namespace nb = nanobind;

namespace ovoxel {
namespace {

using Faces = HostArray<int32_t, nb::shape<-1, 3>>;

void checkFaces(const Faces& faces, size_t numVertices) {
    const int32_t* corners = faces.data();
    if (!std::all_of(corners, corners + 3 * faces.shape(0),
                     [n = static_cast<int64_t>(numVertices)](int32_t v) { return v >= 0 && v < n; }))
        throw nb::value_error("faces must index the vertices");
}

nb::tuple simplify(HostArray<double, nb::shape<-1, 3>> positions, Faces faces, int64_t target, double boundaryWeight,
                   double regularization, double maxNormalAngleCos, bool mustReachTarget,
                   std::optional<HostArray<double, nb::shape<-1, 10>>> quadrics,
                   std::optional<HostArray<uint8_t, nb::shape<-1>>> held) {
    const size_t n = positions.shape(0);
    checkFaces(faces, n);
    if (quadrics.has_value() != held.has_value() || (quadrics && (quadrics->shape(0) != n || held->shape(0) != n)))
        throw nb::value_error("quadrics and held must both have a row for each vertex");
    mesh::SimplifyInput input;
    input.positions.resize(n);
    for (size_t v = 0; v < n; ++v) {
        const double* p = positions.data() + 3 * v;
        input.positions[v] = {p[0], p[1], p[2]};
    }
    input.faces.assign(faces.data(), faces.data() + 3 * faces.shape(0));
    if (quadrics) {
        input.quadrics.resize(n);
        for (size_t v = 0; v < n; ++v) {
            const double* q = quadrics->data() + 10 * v;
            input.quadrics[v] = {{q[0], q[1], q[2], q[3], q[4], q[5]}, {q[6], q[7], q[8]}, q[9]};
        }
        input.held.assign(held->data(), held->data() + n);
    }
    const mesh::SimplifyOptions options{target, boundaryWeight, regularization, maxNormalAngleCos, mustReachTarget};
    mesh::SimplifyResult result;
    {
        const nb::gil_scoped_release release;
        result = mesh::simplifyMesh(input, options);
    }
    std::vector<double> out(3 * result.positions.size());
    for (size_t i = 0; i < out.size(); ++i) out[i] = result.positions[i / 3][static_cast<int>(i % 3)];
    const size_t numVertices = result.positions.size(), numFaces = result.faces.size() / 3;
    return nb::make_tuple(toNumpy(std::move(out), {numVertices, 3}), toNumpy(std::move(result.faces), {numFaces, 3}),
                          toNumpy(std::move(result.vertexSource), {numVertices}), result.phase);
}

template <class Space, class Positions, class Triangles, class Run>
nb::tuple collapse(Space& workspace, const Positions& positions, const Triangles& faces, int64_t target,
                   double boundaryWeight, double regularization, double maxNormalAngleCos, double share, Run run) {
    if (!(share > 0 && share <= 1)) throw nb::value_error("share must lie in (0, 1]");
    const mesh::CollapseInput input{positions.data(), faces.data(), static_cast<int64_t>(positions.shape(0)),
                                    static_cast<int64_t>(faces.shape(0))};
    if (input.numVertices >= int64_t{1} << 31) throw nb::value_error("more than 2^31 vertices");
    const mesh::CollapseOptions options{target, boundaryWeight, regularization, maxNormalAngleCos, share};
    mesh::CollapseResult r;
    {
        const nb::gil_scoped_release release;
        r = run(workspace, input, options);
    }
    return nb::make_tuple(r.numVertices, r.numFaces, r.rounds, workspace.take(r.positions), workspace.take(r.faces),
                          workspace.take(r.source), workspace.take(r.quadrics), workspace.take(r.held));
}

nb::tuple collapseOnHost(HostArray<float, nb::shape<-1, 3>> positions, Faces faces, int64_t target,
                         double boundaryWeight, double regularization, double maxNormalAngleCos, double share) {
    checkFaces(faces, positions.shape(0));
    HostWorkspace workspace;
    return collapse(workspace, positions, faces, target, boundaryWeight, regularization, maxNormalAngleCos, share,
                    mesh::collapseEdges);
}

#ifdef OVOXEL_WITH_CUDA
// The faces were checked by the caller.
nb::tuple collapseOnDevice(DeviceArray<float, nb::shape<-1, 3>> positions,
                           DeviceArray<int32_t, nb::shape<-1, 3>> faces, int64_t target, double boundaryWeight,
                           double regularization, double maxNormalAngleCos, double share, nb::tuple launch) {
    TensorWorkspace workspace(launch);
    return collapse(workspace, positions, faces, target, boundaryWeight, regularization, maxNormalAngleCos, share,
                    mesh::collapseEdgesOnDevice);
}
#endif

}  // namespace

void bindMeshSimplify(nb::module_& m) {
    m.def("mesh_simplify", &simplify, nb::arg("positions"), nb::arg("faces"), nb::arg("target"),
          nb::arg("boundary_weight"), nb::arg("regularization"), nb::arg("max_normal_angle_cos"),
          nb::arg("must_reach_target"), nb::arg("quadrics").none() = nb::none(), nb::arg("held").none() = nb::none(),
          "positions in the unit box -> (positions [V',3] f64, faces [F',3] i32, vertex_source [V'] i32, phase)");
    m.def("mesh_collapse", &collapseOnHost, nb::arg("positions"), nb::arg("faces"), nb::arg("target"),
          nb::arg("boundary_weight"), nb::arg("regularization"), nb::arg("max_normal_angle_cos"), nb::arg("share"),
          "positions in the unit box -> (V', F', rounds, positions [V',3] f32, faces [F',3] i32, source [V'] i32, "
          "quadrics [V',10] f32, held [V'] u8), the arrays as bytes");
#ifdef OVOXEL_WITH_CUDA
    m.def("mesh_collapse_cuda", &collapseOnDevice, nb::arg("positions"), nb::arg("faces"), nb::arg("target"),
          nb::arg("boundary_weight"), nb::arg("regularization"), nb::arg("max_normal_angle_cos"), nb::arg("share"),
          nb::arg("launch"), "`mesh_collapse` on tensors of a GPU");
#endif
}

}  // namespace ovoxel
