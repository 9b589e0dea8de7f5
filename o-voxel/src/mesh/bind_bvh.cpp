// Bindings of the triangle hierarchy. It lives in three arrays that the caller holds; their contents steer no memory
// access beyond what the number of faces allows, so only sizes are checked.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <optional>
#include <string>

#include "common/host_workspace.h"
#include "mesh/bvh.h"
#ifdef OVOXEL_WITH_CUDA
#include "common/tensor_workspace.h"
#endif

namespace nb = nanobind;

namespace ovoxel {
namespace {

using namespace mesh;

template <class Device>
using Rows = nb::ndarray<nb::ro, nb::c_contig, Device, nb::shape<-1, 3>>;  // float32 or float64
template <class Device>
using Triangles = nb::ndarray<const int32_t, nb::c_contig, Device, nb::shape<-1, 3>>;
template <class Device>
using Bytes = nb::ndarray<const uint8_t, nb::c_contig, Device, nb::shape<-1>>;

template <class Array>
Reals reals(const Array& array, const char* name) {
    if (array.dtype() == nb::dtype<float>()) return {static_cast<const float*>(array.data()), nullptr};
    if (array.dtype() == nb::dtype<double>()) return {nullptr, static_cast<const double*>(array.data())};
    throw nb::type_error((std::string(name) + " must be float32 or float64").c_str());
}

BvhLayout checkedLayout(int64_t numFaces) {
    if (numFaces < 0 || numFaces > kBvhMaxFaces) throw nb::value_error("a hierarchy holds at most 2^30 faces");
    return BvhLayout(numFaces);
}

template <class Device>
BvhView view(int64_t numFaces, bool wide, const Bytes<Device>& nodes, const Bytes<Device>& corners,
             const Bytes<Device>& ids) {
    BvhView bvh{checkedLayout(numFaces), reinterpret_cast<const BvhNode*>(nodes.data()), nullptr, nullptr,
                reinterpret_cast<const int32_t*>(ids.data())};
    const size_t leaves = static_cast<size_t>(bvh.layout.leaves), real = wide ? sizeof(double) : sizeof(float);
    if (nodes.shape(0) < sizeof(BvhNode) * static_cast<size_t>(bvh.layout.nodes) ||
        corners.shape(0) < 9 * kBvhWidth * real * leaves || ids.shape(0) < kBvhWidth * sizeof(int32_t) * leaves)
        throw nb::value_error("nodes, corners and ids do not have the sizes of a hierarchy over num_faces faces");
    if (wide)
        bvh.wideCorners = reinterpret_cast<const double*>(corners.data());
    else
        bvh.corners = reinterpret_cast<const float*>(corners.data());
    return bvh;
}

template <class Space>
RealsOut allocateReals(Space& workspace, bool wide, int64_t count) {
    if (wide) return {nullptr, workspace.template allocate<double>(count)};
    return {workspace.template allocate<float>(count), nullptr};
}

template <class Space>
nb::object take(Space& workspace, const RealsOut& out) {
    return workspace.take(out.wide ? static_cast<const void*>(out.wide) : out.narrow);
}

template <class Space, class Device, class Build>
nb::tuple build(Space& workspace, const Rows<Device>& vertices, const Triangles<Device>& faces,
                double padding, Build run) {
    const BvhLayout layout = checkedLayout(static_cast<int64_t>(faces.shape(0)));
    const BvhInput in{reals(vertices, "vertices"), faces.data(), layout.faces, padding};
    const int64_t corners = 9 * kBvhWidth * layout.leaves;
    BvhStorage out{workspace.template allocate<BvhNode>(layout.nodes), nullptr,
                   workspace.template allocate<int32_t>(kBvhWidth * layout.leaves)};
    out.corners = in.vertices.wide ? static_cast<void*>(workspace.template allocate<double>(corners))
                                   : workspace.template allocate<float>(corners);
    {
        const nb::gil_scoped_release release;
        run(workspace, in, layout, out);
    }
    return nb::make_tuple(workspace.take(out.nodes), workspace.take(out.corners), workspace.take(out.ids));
}

template <class Space, class Device, class Run>
nb::tuple nearest(Space& workspace, const BvhView& bvh, const Rows<Device>& points,
                  const std::optional<Rows<Device>>& normals, double minCos, double limit, bool weights, Run run) {
    const auto n = static_cast<int64_t>(points.shape(0));
    if (normals && static_cast<int64_t>(normals->shape(0)) != n)
        throw nb::value_error("normals must have as many rows as points");
    BvhNearestBody body{bvh, reals(points, "points"), {nullptr, nullptr}, minCos, limit, {}, nullptr, {}};
    if (normals) body.normals = reals(*normals, "normals");
    const bool wide = body.points.wide != nullptr;
    body.distance = allocateReals(workspace, wide, n);
    body.face = workspace.template allocate<int64_t>(n);
    if (weights) body.uvw = allocateReals(workspace, wide, 3 * n);
    {
        const nb::gil_scoped_release release;
        run(workspace, body, n);
    }
    return nb::make_tuple(take(workspace, body.distance), workspace.take(body.face),
                          weights ? take(workspace, body.uvw) : nb::none());
}

template <class Array>
int64_t checkRays(const Array& origins, const Array& directions) {
    if (origins.shape(0) != directions.shape(0)) throw nb::value_error("directions must have as many rows as origins");
    return static_cast<int64_t>(origins.shape(0));
}

template <class Space, class Device, class Run>
nb::tuple trace(Space& workspace, const BvhView& bvh, const Rows<Device>& origins, const Rows<Device>& directions,
                double tMin, double tMax, Run run) {
    const int64_t n = checkRays(origins, directions);
    BvhTraceBody body{bvh, reals(origins, "origins"), reals(directions, "directions"), tMin, tMax, {}, nullptr};
    body.depth = allocateReals(workspace, body.origins.wide != nullptr, n);
    body.face = workspace.template allocate<int64_t>(n);
    {
        const nb::gil_scoped_release release;
        run(workspace, body, n);
    }
    return nb::make_tuple(take(workspace, body.depth), workspace.take(body.face));
}

template <class Space, class Device, class Run>
nb::object countHits(Space& workspace, const BvhView& bvh, const Rows<Device>& origins, const Rows<Device>& directions,
                     double tMin, double tMax, int64_t maxHits, Run run) {
    const int64_t n = checkRays(origins, directions);
    BvhCountBody body{bvh, reals(origins, "origins"), reals(directions, "directions"), tMin, tMax, maxHits, nullptr};
    body.hits = workspace.template allocate<int64_t>(n);
    {
        const nb::gil_scoped_release release;
        run(workspace, body, n);
    }
    return workspace.take(body.hits);
}

// Where the four functions run.
struct HostRun {
    using Device = nb::device::cpu;
    HostWorkspace workspace;
    static void build(Workspace&, const BvhInput& in, const BvhLayout& layout, const BvhStorage& out) {
        buildBvh(in, layout, out);
    }
    static void nearest(Workspace&, const BvhNearestBody& body, int64_t n) { runNearest(body, n); }
    static void trace(Workspace&, const BvhTraceBody& body, int64_t n) { runTrace(body, n); }
    static void count(Workspace&, const BvhCountBody& body, int64_t n) { runCount(body, n); }
};

#ifdef OVOXEL_WITH_CUDA
struct CudaRun {
    using Device = nb::device::cuda;
    TensorWorkspace workspace;
    explicit CudaRun(const nb::tuple& launch) : workspace(launch) {}
    static void build(Workspace& space, const BvhInput& in, const BvhLayout& layout, const BvhStorage& out) {
        buildBvhOnDevice(space, in, layout, out);
    }
    static void nearest(Workspace& space, const BvhNearestBody& body, int64_t n) { runNearestOnDevice(space, body, n); }
    static void trace(Workspace& space, const BvhTraceBody& body, int64_t n) { runTraceOnDevice(space, body, n); }
    static void count(Workspace& space, const BvhCountBody& body, int64_t n) { runCountOnDevice(space, body, n); }
};
#endif

// Extra: nothing on the host, the launch tuple on a GPU.
template <class Run, class... Extra>
void bindOn(nb::module_& m, const std::string& suffix, const Extra&... extraArguments) {
    using namespace nb::literals;
    using Device = typename Run::Device;
    using Held = Bytes<Device>;
    using Points = Rows<Device>;
    m.def(("mesh_bvh_build" + suffix).c_str(),
          [](Points vertices, Triangles<Device> faces, double padding, typename Extra::Type... extra) {
              Run on(extra...);
              return build<decltype(on.workspace), Device>(on.workspace, vertices, faces, padding, Run::build);
          },
          "vertices"_a.noconvert(), "faces"_a.noconvert(), "padding"_a,
          extraArguments.argument..., "-> bytes of (nodes, corners, ids); boxes grow by the padding.");
    m.def(("mesh_bvh_nearest" + suffix).c_str(),
          [](int64_t numFaces, bool wide, Held nodes, Held corners, Held ids, Points points,
             std::optional<Points> normals, double minCos, double limit, bool weights, typename Extra::Type... extra) {
              Run on(extra...);
              return nearest<decltype(on.workspace), Device>(on.workspace, view<Device>(numFaces, wide, nodes, corners, ids),
                                                             points, normals, minCos, limit, weights, Run::nearest);
          },
          "num_faces"_a, "wide"_a, "nodes"_a, "corners"_a, "ids"_a, "points"_a.noconvert(),
          "normals"_a.none().noconvert(), "min_cos"_a, "limit"_a, "weights"_a, extraArguments.argument...,
          "-> bytes of (distance [N], face [N] int64, uvw [N, 3] or None), floats of the width of the points.");
    m.def(("mesh_bvh_trace" + suffix).c_str(),
          [](int64_t numFaces, bool wide, Held nodes, Held corners, Held ids, Points origins, Points directions,
             double tMin, double tMax, typename Extra::Type... extra) {
              Run on(extra...);
              return trace<decltype(on.workspace), Device>(on.workspace, view<Device>(numFaces, wide, nodes, corners, ids),
                                                           origins, directions, tMin, tMax, Run::trace);
          },
          "num_faces"_a, "wide"_a, "nodes"_a, "corners"_a, "ids"_a, "origins"_a.noconvert(),
          "directions"_a.noconvert(), "t_min"_a, "t_max"_a, extraArguments.argument...,
          "-> bytes of (depth [N], of the width of the origins, face [N] int64, -1 = miss).");
    m.def(("mesh_bvh_count_hits" + suffix).c_str(),
          [](int64_t numFaces, bool wide, Held nodes, Held corners, Held ids, Points origins, Points directions,
             double tMin, double tMax, int64_t maxHits, typename Extra::Type... extra) {
              Run on(extra...);
              return countHits<decltype(on.workspace), Device>(on.workspace,
                                                               view<Device>(numFaces, wide, nodes, corners, ids), origins,
                                                               directions, tMin, tMax, maxHits, Run::count);
          },
          "num_faces"_a, "wide"_a, "nodes"_a, "corners"_a, "ids"_a, "origins"_a.noconvert(),
          "directions"_a.noconvert(), "t_min"_a, "t_max"_a, "max_hits"_a, extraArguments.argument...,
          "-> bytes of hits [N] int64, at most max_hits.");
}

#ifdef OVOXEL_WITH_CUDA
struct LaunchArgument {
    using Type = nb::tuple;
    nb::arg argument{"launch"};
};
#endif

}  // namespace

void bindMeshBvh(nb::module_& m) {
    bindOn<HostRun>(m, "");
#ifdef OVOXEL_WITH_CUDA
    bindOn<CudaRun>(m, "_cuda", LaunchArgument{});
#endif
}

}  // namespace ovoxel
