#include "unwrap/charts.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "common/parallel.h"
#include "unwrap/cluster_graph.h"

namespace ovoxel::unwrap {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr int64_t kGrain = 2048;
constexpr int kSmoothing = 12;       // passes over the normals: noise of single faces must not decide
constexpr double kSimilar = 1.4;     // radians of difference up to which normals are averaged
constexpr int kMostRounds = 400;     // of merging; about 40 suffice on surfaces
constexpr double kSatellite = 0.05;  // charts below this share of a neighbour's area may join it in groups

Cluster joined(const Cluster& a, const Cluster& b, double shared) {
    Cluster c = a;
    c.add(b, shared);
    return c;
}

// Infinite where the two must stay apart.
double mergeCost(const Cluster& a, const Cluster& b, const Arc& arc, const ChartOptions& options) {
    constexpr double never = std::numeric_limits<double>::infinity();
    if (2 * arc.crease > arc.length) return never;
    const Cluster c = joined(a, b, arc.length);
    const double spread = c.spread();
    if (spread > options.maxSpread) return never;
    // Outline against that of a disk of the same area; 1.1 for a square.
    const double outline = c.area > 0 ? std::min(c.perimeter / std::sqrt(4 * kPi * c.area), 100.0) : 1;
    // Times the size, so that charts grow evenly: small ones merge first.
    return (spread / options.maxSpread + options.roundness * outline) * std::sqrt(c.area);
}

// The cheapest neighbour of each cluster, -1 if there is none; ties go to the pair with the smaller numbers.
std::vector<int32_t> cheapest(const ClusterGraph& g, const ChartOptions& options) {
    std::vector<int32_t> best(g.size(), -1);
    parallelFor(g.size(), kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            double lowest = std::numeric_limits<double>::infinity();
            for (int64_t a = g.begin[i]; a < g.end[i]; ++a) {
                const Arc& arc = g.arcs[a];
                // The same expression on both sides, so that both see the same cost.
                const Cluster &low = g.clusters[std::min<int64_t>(i, arc.to)],
                              &high = g.clusters[std::max<int64_t>(i, arc.to)];
                const double cost = mergeCost(low, high, arc, options);
                if (cost < lowest) lowest = cost, best[i] = arc.to;  // rows are sorted: the first is the smallest
            }
        }
    });
    return best;
}

// Merges until nothing may merge; returns the final cluster of each of the initial ones.
void mergeRounds(ClusterGraph& g, std::vector<int32_t>& label, const ChartOptions& options, const Deadline& deadline) {
    for (int round = 0; round < kMostRounds && !deadline.passed(); ++round) {
        const std::vector<int32_t> best = cheapest(g, options);
        std::vector<int32_t> group(g.size());
        std::iota(group.begin(), group.end(), 0);
        int64_t merges = 0;
        for (int32_t i = 0; i < g.size(); ++i) {
            if (best[i] > i && best[best[i]] == i) group[best[i]] = i, ++merges;
        }
        // Satellites: many small charts around a large one would otherwise wait for each other.
        std::vector<double> taken(g.size(), 0);
        std::vector<Vec3> sum(g.size());
        for (int32_t i = 0; i < g.size(); ++i) {
            const int32_t hub = best[i];
            if (hub < 0 || group[i] != i || group[hub] != hub || best[hub] == i) continue;
            if (best[hub] >= 0 && best[best[hub]] == hub) continue;  // the hub merges itself
            const Cluster &small = g.clusters[i], &large = g.clusters[hub];
            if (small.area > kSatellite * large.area || taken[i] > 0) continue;
            Cluster all = large;
            all.sum = all.sum + sum[hub] + small.sum;
            all.area += taken[hub] + small.area;
            if (taken[hub] + small.area > large.area || all.spread() > options.maxSpread) continue;
            taken[hub] += small.area;
            if (taken[hub] == 0) taken[hub] = std::numeric_limits<double>::min();
            sum[hub] = sum[hub] + small.sum;
            group[i] = hub;
            ++merges;
        }
        if (merges == 0) return;
        contract(g, group);
        parallelFor(static_cast<int64_t>(label.size()), 65536, [&](int64_t begin, int64_t end) {
            for (int64_t f = begin; f < end; ++f) label[f] = group[label[f]];
        });
    }
}

// Moves faces on borders to the neighbouring chart with which they share more border, if their normal allows.
void straighten(const FaceGraph& graph, const std::vector<Vec3>& normals, std::vector<int32_t>& label, int32_t count,
                const ChartOptions& options) {
    const int64_t n = graph.numFaces();
    std::vector<int32_t> next(n);
    const double creaseCos = std::cos(options.creaseAngle);
    for (int pass = 0; pass < options.smoothing; ++pass) {
        std::vector<Vec3> axis(count);
        for (int64_t f = 0; f < n; ++f) axis[label[f]] = axis[label[f]] + normals[f] * graph.area[f];
        for (Vec3& a : axis) a = norm(a) > 0 ? a * (1 / norm(a)) : a;
        parallelFor(n, kGrain, [&](int64_t begin, int64_t end) {
            for (int64_t f = begin; f < end; ++f) {
                const int32_t own = label[f];
                next[f] = own;
                // Half of the faces at a time, so that two neighbours do not swap places for ever.
                if ((static_cast<uint32_t>(f) * 2654435761u >> 16 & 1) != static_cast<uint32_t>(pass & 1)) continue;
                int32_t around[3];
                double length[3], kept = 0;
                bool border = false;
                for (int k = 0; k < 3; ++k) {
                    const int32_t t = graph.twin[3 * f + k];
                    around[k] = t < 0 ? -1 : label[t / 3];
                    // A crease is the right place for a border: it holds nothing together.
                    length[k] = graph.length[3 * f + k];
                    if (t >= 0 && dot(normals[f], normals[t / 3]) < creaseCos) length[k] *= 0.1;
                    if (around[k] == own) kept += length[k];
                    border |= around[k] >= 0 && around[k] != own;
                }
                if (!border) continue;
                const double round = length[0] + length[1] + length[2];
                if (!(round > 0)) continue;
                double best = kept / round + 0.5 * dot(axis[own], normals[f]) + 1e-9;
                for (int k = 0; k < 3; ++k) {
                    const int32_t c = around[k];
                    if (c < 0 || c == own) continue;
                    double shared = 0;
                    for (int j = 0; j < 3; ++j) shared += around[j] == c ? length[j] : 0;
                    const double along = dot(axis[c], normals[f]), score = shared / round + 0.5 * along;
                    if (along > 0.2 && (score > best || (score == best && c < next[f]))) best = score, next[f] = c;
                }
            }
        });
        label.swap(next);
    }
}

// Small charts join the neighbour with the longest common border.
void absorbSmall(ClusterGraph& g, std::vector<int32_t>& label, const ChartOptions& options) {
    const double small = options.smallTexels * options.texel, tiny = options.tinyTexels * options.texel;
    for (int round = 0; round < 12; ++round) {
        std::vector<std::pair<double, int32_t>> order;
        for (int32_t i = 0; i < g.size(); ++i) {
            const Cluster& c = g.clusters[i];
            const bool thin = 2 * c.area < options.thinTexels * options.texel * c.perimeter;
            if (c.area < small * small || thin) order.push_back({c.area, i});
        }
        std::sort(order.begin(), order.end());
        std::vector<int32_t> group(g.size());
        std::iota(group.begin(), group.end(), 0);
        std::vector<uint8_t> busy(g.size(), 0);
        std::vector<Cluster> sums = g.clusters;
        int64_t merges = 0;
        for (const auto& entry : order) {
            const int32_t i = entry.second;
            if (busy[i]) continue;
            const Cluster& c = g.clusters[i];
            const bool any = c.area < tiny * tiny || 2 * c.area < options.thinTexels * options.texel * c.perimeter;
            int32_t best = -1;
            double longest = 0;
            for (int64_t a = g.begin[i]; a < g.end[i]; ++a) {
                const Arc& arc = g.arcs[a];
                if (arc.length <= longest || (busy[arc.to] && group[arc.to] != arc.to)) continue;
                const double spread = joined(sums[arc.to], c, arc.length).spread();
                if (!any && spread > options.smallSpread) continue;
                if (any && spread > std::max(0.85, sums[arc.to].spread())) continue;
                longest = arc.length;
                best = arc.to;
            }
            if (best < 0) continue;
            busy[i] = busy[best] = 1;
            sums[best].add(c, longest);
            group[i] = best;
            ++merges;
        }
        if (merges == 0) return;
        contract(g, group);
        parallelFor(static_cast<int64_t>(label.size()), 65536, [&](int64_t begin, int64_t end) {
            for (int64_t f = begin; f < end; ++f) label[f] = group[label[f]];
        });
    }
}

}  // namespace

std::vector<int32_t> connectedLabels(const FaceGraph& graph, const std::vector<int32_t>& key, int32_t& count) {
    const int64_t n = graph.numFaces();
    std::vector<int32_t> label(n, -1);
    std::vector<int32_t> stack;
    count = 0;
    for (int64_t f = 0; f < n; ++f) {
        if (label[f] >= 0) continue;
        label[f] = count;
        stack.push_back(static_cast<int32_t>(f));
        while (!stack.empty()) {
            const int64_t g = stack.back();
            stack.pop_back();
            for (int64_t h = 3 * g; h < 3 * g + 3; ++h) {
                const int32_t t = graph.twin[h];
                if (t < 0 || label[t / 3] >= 0 || key[t / 3] != key[g]) continue;
                label[t / 3] = count;
                stack.push_back(t / 3);
            }
        }
        ++count;
    }
    return label;
}

std::vector<int32_t> clusterCharts(const FaceGraph& graph, const ChartOptions& options, const Deadline& deadline) {
    const int64_t n = graph.numFaces();
    const std::vector<Vec3> normals = smoothNormals(graph, kSmoothing, kSimilar);
    std::vector<int32_t> label(n);
    std::iota(label.begin(), label.end(), 0);
    int32_t count = static_cast<int32_t>(n);
    ClusterGraph g = clusterGraph(graph, normals, label, count, options.creaseAngle);
    mergeRounds(g, label, options, deadline);
    straighten(graph, normals, label, g.size(), options);
    label = connectedLabels(graph, label, count);
    g = clusterGraph(graph, normals, label, count, options.creaseAngle);
    absorbSmall(g, label, options);
    return label;
}

}  // namespace ovoxel::unwrap
