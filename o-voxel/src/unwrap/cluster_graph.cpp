#include "unwrap/cluster_graph.h"

#include <algorithm>
#include <cmath>

#include "common/parallel.h"

namespace ovoxel::unwrap {
namespace {

constexpr int64_t kGrain = 2048;

// Sorts one row and adds up arcs to the same cluster; returns the new end.
int64_t compactRow(std::vector<Arc>& arcs, int64_t begin, int64_t end) {
    std::sort(arcs.begin() + begin, arcs.begin() + end, [](const Arc& a, const Arc& b) {
        if (a.to != b.to) return a.to < b.to;
        return a.length != b.length ? a.length < b.length : a.crease < b.crease;  // sums repeat exactly
    });
    int64_t out = begin;
    for (int64_t i = begin; i < end; ++i) {
        if (out > begin && arcs[out - 1].to == arcs[i].to) {
            arcs[out - 1].length += arcs[i].length;
            arcs[out - 1].crease += arcs[i].crease;
        } else {
            arcs[out++] = arcs[i];
        }
    }
    return out;
}

// Lists of items by group: items of group g at order[start[g] .. start[g + 1]), ascending.
void bucket(const std::vector<int32_t>& group, int32_t count, std::vector<int64_t>& start, std::vector<int32_t>& order) {
    start.assign(count + 1, 0);
    for (int32_t g : group) ++start[g + 1];
    for (int32_t g = 0; g < count; ++g) start[g + 1] += start[g];
    order.resize(group.size());
    std::vector<int64_t> at(start.begin(), start.end() - 1);
    for (size_t i = 0; i < group.size(); ++i) order[at[group[i]]++] = static_cast<int32_t>(i);
}

}  // namespace

const Arc* ClusterGraph::find(int32_t from, int32_t to) const {
    const auto first = arcs.begin() + begin[from], last = arcs.begin() + end[from];
    const auto it = std::lower_bound(first, last, to, [](const Arc& a, int32_t t) { return a.to < t; });
    return it != last && it->to == to ? &*it : nullptr;
}

ClusterGraph clusterGraph(const FaceGraph& faces, const std::vector<Vec3>& normals, const std::vector<int32_t>& label,
                          int32_t count, double creaseAngle) {
    const double creaseCos = std::cos(creaseAngle);
    std::vector<int64_t> start;
    std::vector<int32_t> order;
    bucket(label, count, start, order);
    ClusterGraph g;
    g.clusters.resize(count);
    g.begin.resize(count);
    g.end.resize(count);
    g.arcs.resize(3 * label.size());
    parallelFor(count, kGrain, [&](int64_t b, int64_t e) {
        for (int64_t c = b; c < e; ++c) {
            Cluster& cluster = g.clusters[c];
            int64_t at = g.begin[c] = 3 * start[c];
            for (int64_t i = start[c]; i < start[c + 1]; ++i) {
                const int64_t f = order[i];
                cluster.sum = cluster.sum + normals[f] * faces.area[f];
                cluster.area += faces.area[f];
                for (int64_t h = 3 * f; h < 3 * f + 3; ++h) {
                    const int32_t t = faces.twin[h];
                    if (t >= 0 && label[t / 3] == c) continue;
                    cluster.perimeter += faces.length[h];
                    if (t < 0) continue;
                    const double crease = dot(normals[f], normals[t / 3]) < creaseCos ? faces.length[h] : 0;
                    g.arcs[at++] = {label[t / 3], faces.length[h], crease};
                }
            }
            g.end[c] = compactRow(g.arcs, g.begin[c], at);
        }
    });
    return g;
}

void contract(ClusterGraph& g, std::vector<int32_t>& group) {
    const int32_t n = g.size();
    // A group is numbered when its smallest member comes by.
    std::vector<int32_t> number(n, -1);
    int32_t count = 0;
    for (int32_t i = 0; i < n; ++i) {
        int32_t& id = number[group[i]];
        if (id < 0) id = count++;
        group[i] = id;
    }
    std::vector<int64_t> start;
    std::vector<int32_t> order;
    bucket(group, count, start, order);
    ClusterGraph out;
    out.clusters.resize(count);
    out.begin.resize(count);
    out.end.resize(count);
    int64_t total = 0;
    for (int32_t c = 0; c < count; ++c) {
        out.begin[c] = total;
        for (int64_t i = start[c]; i < start[c + 1]; ++i) total += g.end[order[i]] - g.begin[order[i]];
    }
    out.arcs.resize(total);
    parallelFor(count, kGrain, [&](int64_t b, int64_t e) {
        for (int64_t c = b; c < e; ++c) {
            Cluster sum;
            int64_t at = out.begin[c];
            double inner = 0;
            for (int64_t i = start[c]; i < start[c + 1]; ++i) {
                const int32_t old = order[i];
                sum.add(g.clusters[old], 0);
                for (int64_t a = g.begin[old]; a < g.end[old]; ++a) {
                    Arc arc = g.arcs[a];
                    arc.to = group[arc.to];
                    if (arc.to == c) {
                        inner += arc.length;  // seen from both sides
                    } else {
                        out.arcs[at++] = arc;
                    }
                }
            }
            sum.perimeter = std::max(0.0, sum.perimeter - inner);
            out.clusters[c] = sum;
            out.end[c] = compactRow(out.arcs, out.begin[c], at);
        }
    });
    g = std::move(out);
}

}  // namespace ovoxel::unwrap
