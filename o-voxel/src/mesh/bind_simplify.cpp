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

using Points = HostArray<double, nb::shape<-1, 3>>;
using Faces = HostArray<int32_t, nb::shape<-1, 3>>;

void checkFaces(const Faces& faces, size_t numVertices) {
    const int32_t* corners = faces.data();
    if (!std::all_of(corners, corners + 3 * faces.shape(0),
                     [n = static_cast<int64_t>(numVertices)](int32_t v) { return v >= 0 && v < n; }))
        throw nb::value_error("faces must index the vertices");
}

std::vector<mesh::Vec3> toVec3(const Points& points) {
    std::vector<mesh::Vec3> out(points.shape(0));
    for (size_t v = 0; v < out.size(); ++v) {
        const double* p = points.data() + 3 * v;
        out[v] = {p[0], p[1], p[2]};
    }
    return out;
}

std::vector<double> flat(const std::vector<mesh::Vec3>& points) {
    std::vector<double> out(3 * points.size());
    for (size_t i = 0; i < out.size(); ++i) out[i] = points[i / 3][static_cast<int>(i % 3)];
    return out;
}

using Quadrics = std::optional<HostArray<double, nb::shape<-1, 10>>>;
using Held = std::optional<HostArray<uint8_t, nb::shape<-1>>>;

mesh::SimplifyInput makeInput(const Points& positions, const Faces& faces, const Quadrics& quadrics, const Held& held) {
    const size_t n = positions.shape(0);
    checkFaces(faces, n);
    if (quadrics.has_value() != held.has_value() || (quadrics && (quadrics->shape(0) != n || held->shape(0) != n)))
        throw nb::value_error("quadrics and held must both have a row for each vertex");
    if (3 * faces.shape(0) >= size_t{1} << 31) throw nb::value_error("there must be fewer than 2^31 corners of faces");
    mesh::SimplifyInput input;
    input.positions = toVec3(positions);
    input.faces.assign(faces.data(), faces.data() + 3 * faces.shape(0));
    if (quadrics) {
        input.quadrics.resize(n);
        for (size_t v = 0; v < n; ++v) {
            const double* q = quadrics->data() + 10 * v;
            input.quadrics[v] = {{q[0], q[1], q[2], q[3], q[4], q[5]}, {q[6], q[7], q[8]}, q[9]};
        }
        input.held.assign(held->data(), held->data() + n);
    }
    return input;
}

nb::tuple surface(mesh::SimplifyResult&& r) {
    const size_t n = r.positions.size(), numFaces = r.faces.size() / 3;
    std::vector<double> quadrics;
    quadrics.reserve(10 * n);
    for (const mesh::Quadric<double>& q : r.quadrics) {
        quadrics.insert(quadrics.end(), q.a, q.a + 6);
        quadrics.insert(quadrics.end(), q.b, q.b + 3);
        quadrics.push_back(q.c);
    }
    return nb::make_tuple(toNumpy(flat(r.positions), {n, 3}), toNumpy(std::move(r.faces), {numFaces, 3}),
                          toNumpy(std::move(r.vertexSource), {n}), r.phase, toNumpy(std::move(quadrics), {n, 10}),
                          toNumpy(std::move(r.held), {n}));
}

nb::tuple simplify(Points positions, Faces faces, int64_t target, double boundaryWeight, double regularization,
                   double maxNormalAngleCos, int lastPhase, Quadrics quadrics, Held held) {
    const mesh::SimplifyInput input = makeInput(positions, faces, quadrics, held);
    const mesh::SimplifyOptions options{target, boundaryWeight, regularization, maxNormalAngleCos, lastPhase};
    mesh::SimplifyResult result;
    {
        const nb::gil_scoped_release release;
        result = mesh::simplifyMesh(input, options);
    }
    return surface(std::move(result));
}

// wedges index uvs; every wedge has one vertex.
nb::tuple simplifyWithSeams(Points positions, Faces faces, Faces wedges, HostArray<double, nb::shape<-1, 2>> uvs,
                            int64_t target, double boundaryWeight, double regularization, double maxNormalAngleCos,
                            int lastPhase, Quadrics quadrics, Held held) {
    const mesh::SimplifyInput input = makeInput(positions, faces, quadrics, held);
    checkFaces(wedges, uvs.shape(0));
    if (wedges.shape(0) != faces.shape(0)) throw nb::value_error("wedges must have as many rows as faces");
    if (lastPhase > 1) throw nb::value_error("the topology must stay: last_phase must be 0 or 1");
    mesh::SeamInput seams;
    seams.wedges.assign(wedges.data(), wedges.data() + 3 * wedges.shape(0));
    seams.uvs.resize(uvs.shape(0));
    for (size_t w = 0; w < seams.uvs.size(); ++w) seams.uvs[w] = {uvs.data()[2 * w], uvs.data()[2 * w + 1]};
    const mesh::SimplifyOptions options{target, boundaryWeight, regularization, maxNormalAngleCos, lastPhase};
    mesh::SeamResult r;
    {
        const nb::gil_scoped_release release;
        r = mesh::simplifyWithSeams(input, options, seams);
    }
    std::vector<double> outUvs;
    for (const auto& uv : r.uvs) outUvs.insert(outUvs.end(), uv.begin(), uv.end());
    const size_t n = r.wedgeSource.size(), numFaces = r.wedges.size() / 3;
    return nb::make_tuple(surface(std::move(r.surface)), toNumpy(std::move(r.wedges), {numFaces, 3}),
                          toNumpy(std::move(outUvs), {n, 2}), toNumpy(std::move(r.wedgeSource), {n}));
}

template <template <class, class...> class Array>
struct CollapseState {
    std::optional<Array<float, nb::shape<-1, 10>>> quadrics;
    std::optional<Array<uint8_t, nb::shape<-1>>> held;
};
static_assert(sizeof(mesh::Quadric<float>) == 10 * sizeof(float));

template <class Space, class Positions, class Triangles, class State, class Run>
nb::tuple collapse(Space& workspace, const Positions& positions, const Triangles& faces, int64_t target,
                   double boundaryWeight, double regularization, double maxNormalAngleCos, double share,
                   const State& state, Run run) {
    if (!(share > 0 && share <= 1)) throw nb::value_error("share must lie in (0, 1]");
    mesh::CollapseInput input{positions.data(), faces.data(), static_cast<int64_t>(positions.shape(0)),
                                    static_cast<int64_t>(faces.shape(0))};
    if (state.quadrics.has_value() != state.held.has_value() ||
        (state.held && (state.quadrics->shape(0) != positions.shape(0) || state.held->shape(0) != positions.shape(0))))
        throw nb::value_error("quadrics and held must both have a row for each vertex");
    if (state.quadrics) {
        input.quadrics = reinterpret_cast<const mesh::Quadric<float>*>(state.quadrics->data());
        input.held = state.held->data();
    }
    if (input.numVertices >= int64_t{1} << 31 || 3 * input.numFaces >= int64_t{1} << 32)
        throw nb::value_error("there must be fewer than 2^31 vertices and 2^32 corners of faces");
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
                         double boundaryWeight, double regularization, double maxNormalAngleCos, double share,
                         std::optional<HostArray<float, nb::shape<-1, 10>>> quadrics, Held held) {
    checkFaces(faces, positions.shape(0));
    HostWorkspace workspace;
    return collapse(workspace, positions, faces, target, boundaryWeight, regularization, maxNormalAngleCos, share,
                    CollapseState<HostArray>{quadrics, held}, mesh::collapseEdges);
}

#ifdef OVOXEL_WITH_CUDA
// The faces were checked by the caller.
nb::tuple collapseOnDevice(DeviceArray<float, nb::shape<-1, 3>> positions,
                           DeviceArray<int32_t, nb::shape<-1, 3>> faces, int64_t target, double boundaryWeight,
                           double regularization, double maxNormalAngleCos, double share, nb::tuple launch,
                           std::optional<DeviceArray<float, nb::shape<-1, 10>>> quadrics,
                           std::optional<DeviceArray<uint8_t, nb::shape<-1>>> held) {
    TensorWorkspace workspace(launch);
    return collapse(workspace, positions, faces, target, boundaryWeight, regularization, maxNormalAngleCos, share,
                    CollapseState<DeviceArray>{quadrics, held}, mesh::collapseEdgesOnDevice);
}
#endif

}  // namespace

void bindMeshSimplify(nb::module_& m) {
    m.def("mesh_simplify", &simplify, nb::arg("positions"), nb::arg("faces"), nb::arg("target"),
          nb::arg("boundary_weight"), nb::arg("regularization"), nb::arg("max_normal_angle_cos"),
          nb::arg("last_phase"), nb::arg("quadrics").none() = nb::none(), nb::arg("held").none() = nb::none(),
          "positions in the unit box -> (positions [V',3] f64, faces [F',3] i32, vertex_source [V'] i32, phase, "
          "quadrics [V',10] f64, held [V'] u8)");
    m.def("mesh_simplify_with_seams", &simplifyWithSeams, nb::arg("positions"), nb::arg("faces"), nb::arg("wedges"),
          nb::arg("uvs"), nb::arg("target"), nb::arg("boundary_weight"), nb::arg("regularization"),
          nb::arg("max_normal_angle_cos"), nb::arg("last_phase"), nb::arg("quadrics").none() = nb::none(),
          nb::arg("held").none() = nb::none(),
          "-> (what mesh_simplify gives, wedges [F',3] i32, uvs [W',2] f64, wedge_source [W'] i32)");
    m.def("mesh_collapse", &collapseOnHost, nb::arg("positions"), nb::arg("faces"), nb::arg("target"),
          nb::arg("boundary_weight"), nb::arg("regularization"), nb::arg("max_normal_angle_cos"), nb::arg("share"),
          nb::arg("quadrics").none() = nb::none(), nb::arg("held").none() = nb::none(),
          "positions in the unit box -> (V', F', rounds, positions [V',3] f32, faces [F',3] i32, source [V'] i32, "
          "quadrics [V',10] f32, held [V'] u8), the arrays as bytes");
#ifdef OVOXEL_WITH_CUDA
    m.def("mesh_collapse_cuda", &collapseOnDevice, nb::arg("positions"), nb::arg("faces"), nb::arg("target"),
          nb::arg("boundary_weight"), nb::arg("regularization"), nb::arg("max_normal_angle_cos"), nb::arg("share"),
          nb::arg("launch"), nb::arg("quadrics").none() = nb::none(), nb::arg("held").none() = nb::none(),
          "`mesh_collapse` on tensors of a GPU");
#endif
}

}  // namespace ovoxel
