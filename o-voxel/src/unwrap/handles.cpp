// Handles of a chart (tunnels, bridges): found and cut open.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "unwrap/flat_chart.h"

namespace ovoxel::unwrap {
namespace {

constexpr int64_t kWork = 20000000;  // faces looked at in a round

// A loop of edges, each named by one of its half-edges.
struct Loop {
    double length = 0;
    std::vector<int32_t> edges;
};

// Loops that generate those around handles: an edge that is neither in a tree of shortest paths over the vertices nor
// crossed by a tree over the faces, with the paths from its ends to where they meet. `c` must be closed.
std::vector<Loop> handleLoops(const FlatChart& c) {
    const int64_t n = static_cast<int64_t>(c.corner.size()), m = c.numVertices();
    std::vector<int32_t> start(m + 1, 0), leaving(n);
    for (int32_t v : c.corner) ++start[v + 1];
    for (int64_t v = 0; v < m; ++v) start[v + 1] += start[v];
    std::vector<int32_t> at(start.begin(), start.end() - 1);
    for (int64_t h = 0; h < n; ++h) leaving[at[c.corner[h]]++] = static_cast<int32_t>(h);
    std::vector<int32_t> depth(m, -1), up(m, -1), queue{c.corner[0]};  // up: half-edge from the parent to the vertex
    std::vector<uint8_t> inTree(n, 0);
    depth[queue[0]] = 0;
    for (size_t i = 0; i < queue.size(); ++i) {
        const int32_t v = queue[i];
        for (int32_t k = start[v]; k < start[v + 1]; ++k) {
            const int32_t h = leaving[k], w = c.corner[nextCorner(h)];
            if (depth[w] >= 0) continue;
            depth[w] = depth[v] + 1;
            up[w] = h;
            inTree[h] = inTree[c.twin[h]] = 1;
            queue.push_back(w);
        }
    }
    // The tree over the faces crosses far edges first, so that what is left over lies near the handles.
    std::vector<int32_t> edges;
    for (int64_t h = 0; h < n; ++h) {
        if (h < c.twin[h] && !inTree[h]) edges.push_back(static_cast<int32_t>(h));
    }
    auto far = [&](int32_t h) { return depth[c.corner[h]] + depth[c.corner[nextCorner(h)]]; };
    std::stable_sort(edges.begin(), edges.end(), [&](int32_t a, int32_t b) { return far(a) > far(b); });
    std::vector<int32_t> parent(n / 3);
    std::iota(parent.begin(), parent.end(), 0);
    auto find = [&](int32_t f) {
        while (parent[f] != f) f = parent[f] = parent[parent[f]];
        return f;
    };
    std::vector<Loop> loops;
    int64_t work = 64 * n;  // of following paths
    for (int32_t h : edges) {
        const int32_t f = find(h / 3), g = find(c.twin[h] / 3);
        if (f != g) {
            parent[std::max(f, g)] = std::min(f, g);
            continue;
        }
        Loop loop;
        loop.edges.push_back(h);
        int32_t a = c.corner[h], b = c.corner[nextCorner(h)];
        while (a != b && --work > 0) {
            int32_t& low = depth[a] >= depth[b] ? a : b;
            loop.edges.push_back(up[low]);
            low = c.corner[up[low]];
        }
        if (work <= 0) break;
        for (int32_t e : loop.edges) loop.length += norm(c.position[c.corner[nextCorner(e)]] - c.position[c.corner[e]]);
        loops.push_back(std::move(loop));
    }
    std::stable_sort(loops.begin(), loops.end(), [](const Loop& a, const Loop& b) { return a.length < b.length; });
    return loops;
}

bool inOnePiece(const FlatChart& c) {
    std::vector<uint8_t> seen(c.numFaces(), 0);
    std::vector<int32_t> stack{0};
    seen[0] = 1;
    int64_t count = 1;
    while (!stack.empty()) {
        const int32_t f = stack.back();
        stack.pop_back();
        for (int k = 0; k < 3; ++k) {
            const int32_t t = c.twin[3 * f + k];
            if (t < 0 || seen[t / 3]) continue;
            seen[t / 3] = 1;
            ++count;
            stack.push_back(t / 3);
        }
    }
    return count == c.numFaces();
}

}  // namespace

int64_t genus(const FlatChart& c) {
    int64_t edges = 0;
    for (size_t h = 0; h < c.twin.size(); ++h) edges += c.twin[h] < static_cast<int32_t>(h);  // a border edge is -1
    const int64_t euler = c.numVertices() - edges + c.numFaces();
    return (2 - static_cast<int64_t>(borderLoops(c).size()) - euler) / 2;
}

void cutHandles(FlatChart& c, int rounds) {
    int64_t handles = genus(c);
    for (int round = 0; round < rounds && handles > 0; ++round) {
        FlatChart closed = c;
        patchHoles(closed, std::numeric_limits<int64_t>::max(), false);
        const int32_t real = static_cast<int32_t>(c.corner.size());
        std::vector<uint8_t> touched(closed.numVertices(), 0);
        int64_t checks = std::min(4 * handles + 16, 1 + kWork / c.numFaces());
        bool any = false;
        for (const Loop& loop : handleLoops(closed)) {
            if (checks-- <= 0) break;
            if (std::any_of(loop.edges.begin(), loop.edges.end(), [&](int32_t h) {
                    return touched[closed.corner[h]] || touched[closed.corner[nextCorner(h)]];
                })) {
                continue;  // loops that meet may run around the same handle
            }
            std::vector<std::pair<int32_t, int32_t>> opened;
            for (int32_t h : loop.edges) {
                const int32_t t = closed.twin[h];
                if (h >= real || t >= real) continue;  // over a hole
                opened.push_back({h, t});
                c.twin[h] = c.twin[t] = -1;
            }
            if (opened.empty() || !inOnePiece(c)) {
                for (const auto& [h, t] : opened) c.twin[h] = t, c.twin[t] = h;
                continue;
            }
            for (int32_t h : loop.edges) touched[closed.corner[h]] = touched[closed.corner[nextCorner(h)]] = 1;
            any = true;
        }
        if (!any) return;
        std::vector<Vec3> at(c.corner.size());
        for (size_t h = 0; h < at.size(); ++h) at[h] = c.position[c.corner[h]];
        weldCorners(c, at);
        handles = genus(c);
    }
}

}  // namespace ovoxel::unwrap
