// Bindings of the mesh topic. Arguments are checked again here: a wrong index must never reach the loops.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <cmath>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/parallel.h"
#include "mesh/charts.h"
#include "mesh/pack.h"
#include "mesh/simplify.h"

namespace nb = nanobind;

namespace ovoxel {

void bindMeshBvh(nb::module_& m);
void bindMeshTopology(nb::module_& m);

namespace {

using mesh::Vec3;
using Points = nb::ndarray<const double, nb::shape<-1, 3>, nb::c_contig, nb::device::cpu>;
using Faces = nb::ndarray<const int32_t, nb::shape<-1, 3>, nb::c_contig, nb::device::cpu>;
using Pairs = nb::ndarray<const int64_t, nb::shape<-1, 2>, nb::c_contig, nb::device::cpu>;
using Doubles = nb::ndarray<const double, nb::shape<-1>, nb::c_contig, nb::device::cpu>;
using Sizes = nb::ndarray<const double, nb::shape<-1, 2>, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<const uint8_t, nb::shape<-1>, nb::c_contig, nb::device::cpu>;

template <class T>
nb::ndarray<nb::numpy, T> toNumpy(std::vector<T>&& data, std::initializer_list<size_t> shape) {
    auto* owned = new std::vector<T>(std::move(data));
    nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return nb::ndarray<nb::numpy, T>(owned->data(), shape, owner);
}

std::vector<Vec3> toVec3(const Points& points) {
    std::vector<Vec3> out(points.shape(0));
    const double* p = points.data();
    for (size_t i = 0; i < out.size(); ++i) out[i] = {p[3 * i], p[3 * i + 1], p[3 * i + 2]};
    return out;
}

std::vector<int32_t> toFaces(const Faces& faces, size_t numVertices) {
    std::vector<int32_t> out(faces.data(), faces.data() + 3 * faces.shape(0));
    for (int32_t v : out) {
        if (v < 0 || static_cast<size_t>(v) >= numVertices) {
            throw std::invalid_argument("faces must index " + std::to_string(numVertices) + " vertices, got " +
                                        std::to_string(v));
        }
    }
    return out;
}

void checkPairs(const Pairs& pairs, int64_t n) {
    const int64_t* p = pairs.data();
    for (size_t i = 0; i < 2 * pairs.shape(0); ++i) {
        if (p[i] < 0 || p[i] >= n) throw std::invalid_argument("pairs must lie in [0, n)");
    }
}

nb::tuple simplify(Points vertices, Faces faces, int64_t target, double boundaryWeight, double regularization,
                   double maxNormalAngleCos, bool mustReachTarget) {
    const std::vector<Vec3> v = toVec3(vertices);
    const std::vector<int32_t> f = toFaces(faces, v.size());
    mesh::SimplifyOptions options;
    options.targetFaces = target;
    options.boundaryWeight = boundaryWeight;
    options.regularization = regularization;
    options.maxNormalAngleCos = maxNormalAngleCos;
    options.mustReachTarget = mustReachTarget;
    mesh::SimplifyResult result;
    {
        nb::gil_scoped_release release;
        result = mesh::simplifyMesh(v, f, options);
    }
    std::vector<double> out(3 * result.vertices.size());
    for (size_t i = 0; i < result.vertices.size(); ++i) {
        for (int k = 0; k < 3; ++k) out[3 * i + k] = result.vertices[i][k];
    }
    const size_t numVertices = result.vertices.size(), numFaces = result.faces.size() / 3;
    return nb::make_tuple(toNumpy(std::move(out), {numVertices, 3}), toNumpy(std::move(result.faces), {numFaces, 3}),
                          toNumpy(std::move(result.vertexSource), {numVertices}), result.phase);
}

nb::tuple clusterCharts(Points vertices, Faces faces, Pairs pairs, Doubles lengths, double maxConeHalfAngle,
                        double smallConeHalfAngle, double roundness, double areaWeight, double smallArea) {
    const std::vector<Vec3> v = toVec3(vertices);
    const std::vector<int32_t> f = toFaces(faces, v.size());
    checkPairs(pairs, static_cast<int64_t>(faces.shape(0)));
    if (lengths.shape(0) != pairs.shape(0)) throw std::invalid_argument("lengths must have one entry a pair");
    mesh::ChartOptions options;
    options.maxConeHalfAngle = maxConeHalfAngle;
    options.smallConeHalfAngle = smallConeHalfAngle;
    options.roundness = roundness;
    options.areaWeight = areaWeight;
    options.smallArea = smallArea;
    mesh::Charts charts;
    {
        nb::gil_scoped_release release;
        charts = mesh::clusterCharts(v, f, pairs.data(), lengths.data(), static_cast<int64_t>(pairs.shape(0)), options);
    }
    std::vector<double> axis(3 * charts.axis.size());
    for (size_t i = 0; i < charts.axis.size(); ++i) {
        for (int k = 0; k < 3; ++k) axis[3 * i + k] = charts.axis[i][k];
    }
    const size_t numFaces = charts.label.size(), numCharts = charts.axis.size();
    return nb::make_tuple(toNumpy(std::move(charts.label), {numFaces}), toNumpy(std::move(axis), {numCharts, 3}));
}

nb::tuple packCharts(Sizes sizes, int32_t resolution, int32_t padding) {
    if (resolution < 1 || padding < 0) throw std::invalid_argument("resolution must be >= 1 and padding >= 0");
    mesh::Packing r;
    {
        nb::gil_scoped_release release;
        r = mesh::packCharts(sizes.data(), static_cast<int64_t>(sizes.shape(0)), resolution, padding);
    }
    if (!r.fits) throw std::invalid_argument("charts do not fit");
    const size_t n = sizes.shape(0);
    return nb::make_tuple(r.scale, toNumpy(std::move(r.x), {n}), toNumpy(std::move(r.y), {n}),
                          toNumpy(std::move(r.rotated), {n}));
}

}  // namespace

void bindMesh(nb::module_& m) {
    m.def("mesh_simplify", &simplify, nb::arg("vertices"), nb::arg("faces"), nb::arg("target"),
          nb::arg("boundary_weight"), nb::arg("regularization"), nb::arg("max_normal_angle_cos"),
          nb::arg("must_reach_target"), "-> (vertices [V',3] f64, faces [F',3] i32, vertex_source [V'] i32, phase)");
    m.def("mesh_cluster_charts", &clusterCharts, nb::arg("vertices"), nb::arg("faces"), nb::arg("pairs"),
          nb::arg("lengths"), nb::arg("max_cone_half_angle"), nb::arg("small_cone_half_angle"), nb::arg("roundness"),
          nb::arg("area_weight"), nb::arg("small_area"), "-> (label [F] i32, axis [K,3] f64)");
    m.def("mesh_pack_charts", &packCharts, nb::arg("sizes"), nb::arg("resolution"), nb::arg("padding"),
          "-> (scale, x [K] i32, y [K] i32, rotated [K] u8); ValueError if they do not fit");
    bindMeshBvh(m);
    bindMeshTopology(m);
}

}  // namespace ovoxel
