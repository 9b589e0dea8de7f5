#include "unwrap/flatten.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "common/parallel.h"

namespace ovoxel::unwrap {
namespace {

constexpr int kCarefulLevels = 5;  // of cutting; deeper ones only halve, so that the depth is logarithmic
constexpr int kAttempts = 2;       // to free a chart of mirrored faces

using Parts = std::vector<std::vector<int32_t>>;

Parts singleFaces(const FlatChart& chart) {
    Parts out;
    for (int32_t f : chart.faces) out.push_back({f});
    return out;
}

// Lays one chart flat. Returns the parts to try instead, nothing on success.
Parts flattenOne(FlatChart& chart, const FaceGraph& graph, int level, const FlattenOptions& options,
                 const Deadline& deadline) {
    if (chart.numFaces() == 1) {
        chart.uv.assign(chart.shape.begin(), chart.shape.end());
        return {};
    }
    switch (deadline.effort()) {
        case Deadline::Effort::kNone: return singleFaces(chart);
        case Deadline::Effort::kCheap: {
            const bool ok = project(chart, graph) > 0.1 && oneOuterLoop(chart) && borderCrossings(chart).empty();
            return ok ? Parts{} : cutInHalf(chart);
        }
        case Deadline::Effort::kFull: break;
    }
    const bool careful = level < kCarefulLevels;
    Parts parts;
    if (careful) cutHandles(chart, 6);
    patchHoles(chart, options.patchEdges, true);
    if (project(chart, graph) < options.projectCos) {
        int64_t left = 1;
        for (int attempt = 0; attempt < kAttempts && left > 0 && !deadline.passed(); ++attempt) {
            relax(chart, options.rounds);
            left = untangle(chart, 20);
        }
        if (left > 0) {
            dropPatches(chart);
            if (careful) parts = peelMirrored(chart);
            return parts.empty() ? cutInHalf(chart) : parts;
        }
    }
    const bool simple = smoothBorder(chart, 40);
    dropPatches(chart);
    if (!simple || !oneOuterLoop(chart)) {
        if (careful) parts = cutOverlap(chart);
        if (careful && parts.empty()) parts = peelCrossing(chart);
        return parts.empty() ? cutInHalf(chart) : parts;
    }
    double area = 0;
    for (double a : chart.area) area += a;
    const bool small = area < options.smallArea;
    return careful && !small && stretch(chart) > options.maxStretch ? cutInHalf(chart) : Parts{};
}

}  // namespace

FlatMesh flattenCharts(const std::vector<Vec3>& vertices, const std::vector<int32_t>& faces, const FaceGraph& graph,
                       const std::vector<int32_t>& label, int32_t count, const FlattenOptions& options,
                       const Deadline& deadline) {
    const int64_t n = graph.numFaces();
    std::vector<std::vector<int32_t>> todo(count);
    for (int64_t f = 0; f < n; ++f) todo[label[f]].push_back(static_cast<int32_t>(f));
    std::vector<FlatChart> done;
    Deadline::Effort effort = deadline.effort();
    std::vector<int32_t> owner(n), local(n);
    int32_t used = 0;  // every attempt has a number of its own, so that faces that are done belong to none
    for (int level = 0; !todo.empty(); ++level) {
        const int64_t m = static_cast<int64_t>(todo.size());
        for (int64_t i = 0; i < m; ++i) {
            for (int32_t f : todo[i]) owner[f] = used + static_cast<int32_t>(i);
        }
        std::vector<int32_t> order(m);  // large ones first, so that threads finish together
        std::iota(order.begin(), order.end(), 0);
        std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
            return todo[a].size() != todo[b].size() ? todo[a].size() > todo[b].size() : a < b;
        });
        std::vector<FlatChart> charts(m);
        std::vector<Parts> parts(m);
        const int64_t grain = std::max<int64_t>(1, m / 512);
        parallelFor(m, grain, [&](int64_t begin, int64_t end) {
            for (int64_t k = begin; k < end; ++k) {
                const int32_t i = order[k];
                charts[i] = makeChart(graph, vertices, faces, std::move(todo[i]), owner, used + i, local);
                parts[i] = flattenOne(charts[i], graph, level, options, deadline);
            }
        });
        effort = std::max(effort, deadline.effort());
        todo.clear();
        used += static_cast<int32_t>(m);
        for (int64_t i = 0; i < m; ++i) {
            if (parts[i].empty()) {
                done.push_back(std::move(charts[i]));
            } else {
                for (auto& part : parts[i]) todo.push_back(std::move(part));
            }
        }
    }
    std::sort(done.begin(), done.end(), [](const FlatChart& a, const FlatChart& b) { return a.faces[0] < b.faces[0]; });

    FlatMesh out;
    out.effort = effort;
    out.numCharts = static_cast<int32_t>(done.size());
    out.label.resize(n);
    out.corner.resize(3 * n);
    // A vertex of a chart becomes one row for each vertex of the mesh at its place (more than one where split vertices
    // were joined by position).
    std::vector<std::vector<int32_t>> rows(done.size());
    std::vector<std::vector<int32_t>> rowOf(done.size());
    parallelFor(static_cast<int64_t>(done.size()), 16, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const FlatChart& c = done[i];
            std::vector<std::pair<int64_t, int32_t>> keys(c.corner.size());
            for (size_t h = 0; h < c.corner.size(); ++h) {
                const int64_t v = faces[3 * static_cast<int64_t>(c.faces[h / 3]) + h % 3];
                keys[h] = {static_cast<int64_t>(c.corner[h]) << 32 | v, static_cast<int32_t>(h)};
            }
            std::sort(keys.begin(), keys.end());
            rowOf[i].resize(c.corner.size());
            for (size_t k = 0; k < keys.size(); ++k) {
                if (k == 0 || keys[k].first != keys[k - 1].first) rows[i].push_back(keys[k].second);
                rowOf[i][keys[k].second] = static_cast<int32_t>(rows[i].size()) - 1;
            }
        }
    });
    // One density: every chart gets its area in space.
    parallelFor(static_cast<int64_t>(done.size()), 16, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            FlatChart& c = done[i];
            double flat = 0, space = 0;
            for (int64_t f = 0; f < c.numFaces(); ++f) flat += std::abs(c.signedArea(f)), space += c.area[f];
            const double factor = flat > 0 && space > 0 ? std::sqrt(space / flat) : 1;
            for (Vec2& p : c.uv) p = p * factor;
        }
    });
    int64_t total = 0;
    for (size_t i = 0; i < done.size(); ++i) {
        const FlatChart& c = done[i];
        for (int32_t h : rows[i]) {
            out.vertex.push_back(faces[3 * static_cast<int64_t>(c.faces[h / 3]) + h % 3]);
            out.uv.push_back(c.uv[c.corner[h]]);
        }
        for (size_t h = 0; h < c.corner.size(); ++h) {
            out.corner[3 * static_cast<int64_t>(c.faces[h / 3]) + h % 3] = static_cast<int32_t>(total + rowOf[i][h]);
        }
        for (int32_t f : c.faces) out.label[f] = static_cast<int32_t>(i);
        total += static_cast<int64_t>(rows[i].size());
    }
    return out;
}

}  // namespace ovoxel::unwrap
