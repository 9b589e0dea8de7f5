#include "unwrap/face_graph.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/parallel.h"
#include "common/parallel_sort.h"

namespace ovoxel::unwrap {
namespace {

constexpr int64_t kGrain = 8192;
constexpr int64_t kMostSheets = 16;  // on one edge; more are left unpaired

// Ids that are equal exactly for vertices at the same place.
std::vector<int32_t> weldByPosition(const std::vector<Vec3>& vertices) {
    const int64_t n = static_cast<int64_t>(vertices.size());
    std::vector<KeyValue> items(n);
    parallelFor(n, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            uint64_t h = 0x9E3779B97F4A7C15ull;
            for (int k = 0; k < 3; ++k) {
                const double c = vertices[i][k] + 0.0;  // no negative zero
                uint64_t bits;
                std::memcpy(&bits, &c, 8);
                h = (h ^ bits) * 0xD6E8FEB86659FD93ull;
                h ^= h >> 32;
            }
            items[i] = {h, static_cast<uint32_t>(i)};
        }
    });
    radixSort(items, 64);
    std::vector<int32_t> id(n);
    for (int64_t i = 0; i < n;) {
        int64_t j = i;
        while (j < n && items[j].key == items[i].key) ++j;
        for (int64_t a = i; a < j; ++a) {
            // Equal hashes are equal places but for a coincidence, which the comparison rules out.
            const uint32_t v = items[a].value, first = items[i].value;
            const Vec3 &p = vertices[v], &q = vertices[first];
            id[v] = static_cast<int32_t>(p.x == q.x && p.y == q.y && p.z == q.z ? first : v);
        }
        i = j;
    }
    return id;
}

// Pairs the unpaired half-edges, given the vertex identity to use.
template <class Identity>
void pairHalfEdges(const std::vector<int32_t>& faces, const FaceGraph& graph, uint64_t numVertices,
                   const Identity& identity, std::vector<int32_t>& twin) {
    const int64_t n = static_cast<int64_t>(twin.size());
    std::vector<int64_t> open;
    for (int64_t h = 0; h < n; ++h) {
        if (twin[h] < 0 && identity(faces[h]) != identity(faces[nextCorner(h)])) open.push_back(h);
    }
    const int64_t m = static_cast<int64_t>(open.size());
    std::vector<KeyValue> items(m);
    parallelFor(m, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const uint64_t a = identity(faces[open[i]]), b = identity(faces[nextCorner(open[i])]);
            items[i] = {std::min(a, b) * numVertices + std::max(a, b), static_cast<uint32_t>(open[i])};
        }
    });
    radixSort(items, bitsFor(numVertices * numVertices));
    auto forward = [&](int64_t h) { return identity(faces[h]) < identity(faces[nextCorner(h)]); };
    for (int64_t i = 0; i < m;) {
        int64_t j = i + 1;
        while (j < m && items[j].key == items[i].key) ++j;
        if (j - i <= kMostSheets) {
            for (int64_t round = i; round < j; ++round) {  // the best pair of those left
                double best = -2;
                int64_t first = -1, second = -1;
                for (int64_t a = i; a < j; ++a) {
                    const int64_t h = items[a].value;
                    if (twin[h] >= 0 || !forward(h)) continue;
                    for (int64_t b = i; b < j; ++b) {
                        const int64_t g = items[b].value;
                        if (twin[g] >= 0 || forward(g) || h / 3 == g / 3) continue;
                        const double alike = dot(graph.normal[h / 3], graph.normal[g / 3]);
                        if (alike > best) best = alike, first = h, second = g;
                    }
                }
                if (first < 0) break;
                twin[first] = static_cast<int32_t>(second);
                twin[second] = static_cast<int32_t>(first);
            }
        }
        i = j;
    }
}

}  // namespace

FaceGraph buildFaceGraph(const std::vector<Vec3>& vertices, const std::vector<int32_t>& faces) {
    const int64_t n = static_cast<int64_t>(faces.size() / 3);
    FaceGraph graph;
    graph.twin.assign(3 * n, -1);
    graph.length.resize(3 * n);
    graph.normal.resize(n);
    graph.area.resize(n);
    parallelFor(n, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t f = begin; f < end; ++f) {
            const Vec3 &a = vertices[faces[3 * f]], &b = vertices[faces[3 * f + 1]], &c = vertices[faces[3 * f + 2]];
            const Vec3 cross2 = cross(b - a, c - a);
            const double size = norm(cross2);
            graph.normal[f] = size > 0 ? cross2 * (1 / size) : Vec3{};
            graph.area[f] = size / 2;
            graph.length[3 * f] = norm(b - a);
            graph.length[3 * f + 1] = norm(c - b);
            graph.length[3 * f + 2] = norm(a - c);
        }
    });
    for (double area : graph.area) graph.totalArea += area;
    const uint64_t numVertices = vertices.size();
    pairHalfEdges(faces, graph, numVertices, [](int32_t v) { return static_cast<uint64_t>(v); }, graph.twin);
    const bool open = std::any_of(graph.twin.begin(), graph.twin.end(), [](int32_t t) { return t < 0; });
    if (open) {
        const std::vector<int32_t> place = weldByPosition(vertices);
        pairHalfEdges(faces, graph, numVertices, [&](int32_t v) { return static_cast<uint64_t>(place[v]); },
                      graph.twin);
    }
    return graph;
}

std::vector<Vec3> smoothNormals(const FaceGraph& graph, int passes, double limit) {
    const int64_t n = graph.numFaces();
    std::vector<Vec3> now = graph.normal, next(n);
    const double reach = 1 / (1 - std::cos(limit));
    for (int pass = 0; pass < passes; ++pass) {
        parallelFor(n, kGrain, [&](int64_t begin, int64_t end) {
            for (int64_t f = begin; f < end; ++f) {
                Vec3 sum = now[f] * graph.area[f];
                for (int k = 0; k < 3; ++k) {
                    const int32_t t = graph.twin[3 * f + k];
                    if (t < 0) continue;
                    const Vec3& other = now[t / 3];
                    const double alike = std::max(0.0, 1 + (dot(now[f], other) - 1) * reach);
                    sum = sum + other * (graph.area[t / 3] * alike * alike);
                }
                const double size = norm(sum);
                next[f] = size > 0 ? sum * (1 / size) : now[f];
            }
        });
        now.swap(next);
    }
    return now;
}

}  // namespace ovoxel::unwrap
