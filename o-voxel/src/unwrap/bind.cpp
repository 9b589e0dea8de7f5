// Bindings of the unwrap topic. Arguments are checked again here: a wrong index must never reach the loops.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/array.h"
#include "unwrap/charts.h"
#include "unwrap/flatten.h"
#include "unwrap/measure.h"
#include "unwrap/pack.h"

namespace nb = nanobind;

namespace ovoxel {
namespace {

using unwrap::Vec2;
using unwrap::Vec3;
using Points = HostArray<double, nb::shape<-1, 3>>;
using Flat = HostArray<double, nb::shape<-1, 2>>;
using Faces = HostArray<int32_t, nb::shape<-1, 3>>;
using Labels = HostArray<int32_t, nb::shape<-1>>;

std::vector<int32_t> toFaces(const Faces& faces, size_t rows) {
    std::vector<int32_t> out(faces.data(), faces.data() + 3 * faces.shape(0));
    for (int32_t v : out) {
        if (v < 0 || static_cast<size_t>(v) >= rows) {
            throw std::invalid_argument("faces must lie in [0, " + std::to_string(rows) + "), got " + std::to_string(v));
        }
    }
    if (faces.shape(0) > 600000000) throw std::invalid_argument("at most 600000000 faces");
    return out;
}

std::vector<Vec3> toVec3(const Points& points) {
    std::vector<Vec3> out(points.shape(0));
    const double* p = points.data();
    for (size_t i = 0; i < out.size(); ++i) out[i] = {p[3 * i], p[3 * i + 1], p[3 * i + 2]};
    return out;
}

std::vector<Vec2> toVec2(const Flat& points) {
    std::vector<Vec2> out(points.shape(0));
    for (size_t i = 0; i < out.size(); ++i) {
        out[i] = {points.data()[2 * i], points.data()[2 * i + 1]};
        if (!std::isfinite(out[i].x) || !std::isfinite(out[i].y)) throw std::invalid_argument("uv must be finite");
    }
    return out;
}

std::vector<int32_t> toLabels(const Labels& label, int32_t numCharts) {
    std::vector<int32_t> out(label.data(), label.data() + label.shape(0));
    for (int32_t c : out) {
        if (c < 0 || c >= numCharts) throw std::invalid_argument("label must lie in [0, num_charts)");
    }
    return out;
}

auto fromVec2(const std::vector<Vec2>& uv) {
    std::vector<double> out(2 * uv.size());
    for (size_t i = 0; i < uv.size(); ++i) out[2 * i] = uv[i].x, out[2 * i + 1] = uv[i].y;
    const size_t rows = uv.size();
    return toNumpy(std::move(out), {rows, 2});
}

nb::tuple makeCharts(Points vertices, Faces faces, double maxSpread, double roundness, double texel, double projectCos,
                     double maxStretch, int rounds, double seconds) {
    const unwrap::Deadline deadline(seconds);
    const std::vector<Vec3> v = toVec3(vertices);
    const std::vector<int32_t> f = toFaces(faces, v.size());
    unwrap::ChartOptions chartOptions;
    chartOptions.maxSpread = maxSpread;
    chartOptions.roundness = roundness;
    chartOptions.texel = texel;
    unwrap::FlattenOptions flattenOptions;
    flattenOptions.projectCos = projectCos;
    flattenOptions.maxStretch = maxStretch;
    flattenOptions.rounds = rounds;
    flattenOptions.smallArea = 256 * texel * texel;
    unwrap::FlatMesh flat;
    {
        nb::gil_scoped_release release;
        const unwrap::FaceGraph graph = unwrap::buildFaceGraph(v, f);
        const std::vector<int32_t> label = unwrap::clusterCharts(graph, chartOptions, deadline);
        int32_t count = 0;
        for (int32_t c : label) count = std::max(count, c + 1);
        flat = unwrap::flattenCharts(v, f, graph, label, count, flattenOptions, deadline);
    }
    const size_t numFaces = flat.label.size(), rows = flat.vertex.size();
    auto uv = fromVec2(flat.uv);
    return nb::make_tuple(toNumpy(std::move(flat.label), {numFaces}), toNumpy(std::move(flat.corner), {numFaces, 3}),
                          toNumpy(std::move(flat.vertex), {rows}), uv, static_cast<int>(flat.effort));
}

nb::tuple pack(Flat uv, Faces faces, Labels label, int32_t numCharts, int32_t resolution, int32_t padding,
               bool rectangles, double seconds) {
    const unwrap::Deadline deadline(seconds);
    if (resolution < 1 || resolution > 65536 || padding < 0 || padding > resolution) {
        throw std::invalid_argument("resolution must lie in [1, 65536] and padding in [0, resolution]");
    }
    if (label.shape(0) != faces.shape(0)) throw std::invalid_argument("label must have one entry a face");
    const std::vector<Vec2> flat = toVec2(uv);
    const std::vector<int32_t> corner = toFaces(faces, flat.size()), charts = toLabels(label, numCharts);
    std::vector<uint8_t> used(charts.empty() ? 0 : numCharts, 0);
    for (int32_t c : charts) used[c] = 1;
    if (std::any_of(used.begin(), used.end(), [](uint8_t u) { return !u; })) {
        throw std::invalid_argument("every chart must have a face");
    }
    unwrap::PackOptions options;
    options.resolution = resolution;
    options.padding = padding;
    options.rectangles = rectangles;
    unwrap::Packing packing;
    {
        nb::gil_scoped_release release;
        packing = unwrap::packCharts(flat, corner, charts, numCharts, options, deadline);
    }
    return nb::make_tuple(packing.fits ? packing.scale : -1.0, fromVec2(packing.uv), packing.bitmaps);
}

nb::tuple measure(Points vertices, Faces faces, Flat texels, Faces corner, Labels label, int32_t numCharts,
                  double thinWidth) {
    if (faces.shape(0) != corner.shape(0) || faces.shape(0) != label.shape(0)) {
        throw std::invalid_argument("faces, corner and label must have as many rows");
    }
    const std::vector<Vec3> v = toVec3(vertices);
    const std::vector<int32_t> f = toFaces(faces, v.size()), c = toFaces(corner, texels.shape(0)),
                               charts = toLabels(label, numCharts);
    const std::vector<Vec2> flat = toVec2(texels);
    unwrap::Quality q;
    {
        nb::gil_scoped_release release;
        q = unwrap::measure(v, f, flat, c, charts, numCharts, thinWidth);
    }
    return nb::make_tuple(q.thinCharts, q.thinArea, q.area, q.stretch, q.densityLow, q.densityHigh);
}

}  // namespace

void bindUnwrap(nb::module_& m) {
    m.def("unwrap_charts", &makeCharts, nb::arg("vertices"), nb::arg("faces"), nb::arg("max_spread"),
          nb::arg("roundness"), nb::arg("texel"), nb::arg("project_cos"), nb::arg("max_stretch"), nb::arg("rounds"),
          nb::arg("seconds"),
          "-> (label [F] i32, corner [F,3] i32, vertex [W] i32, uv [W,2] f64 in units of length, effort: 0 full, 1 cheap, "
          "2 none)");
    m.def("unwrap_pack", &pack, nb::arg("uv"), nb::arg("faces"), nb::arg("label"), nb::arg("num_charts"),
          nb::arg("resolution"), nb::arg("padding"), nb::arg("rectangles"), nb::arg("seconds"),
          "-> (texels per unit or -1 if the charts do not fit, uv [W,2] f64 in texels, packed as bitmaps)");
    m.def("unwrap_measure", &measure, nb::arg("vertices"), nb::arg("faces"), nb::arg("texels"), nb::arg("corner"),
          nb::arg("label"), nb::arg("num_charts"), nb::arg("thin_width"),
          "-> (thin charts, thin area, area, stretch, 1st and 99th percentile of relative density)");
}

}  // namespace ovoxel
