#include "unwrap/flat_chart.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace ovoxel::unwrap {
namespace {

constexpr double kThinnest = 1e-4;  // height over longest edge to which slivers are thickened

// A face in its own plane: corner 0 at the origin, corner 1 on the x axis.
void layFlat(const Vec3& a, const Vec3& b, const Vec3& c, double unit, Vec2* out) {
    const Vec3 e = b - a, g = c - a;
    double x1 = norm(e), x2 = 0, y2 = 0;
    if (x1 > 0) {
        x2 = dot(e, g) / x1;
        y2 = norm(cross(e, g)) / x1;
    } else {
        x1 = 0;
        x2 = norm(g);
    }
    const double longest = std::max({x1, norm(g), norm(c - b)});
    const double size = longest > 0 ? longest : unit;
    if (x1 < kThinnest * size) x1 = kThinnest * size;
    if (y2 * x1 < kThinnest * size * size) y2 = kThinnest * size * size / x1;
    out[0] = {0, 0};
    out[1] = {x1, 0};
    out[2] = {x2, y2};
}

}  // namespace

void weldCorners(FlatChart& c, const std::vector<Vec3>& at) {
    const int32_t n = static_cast<int32_t>(c.twin.size());
    std::vector<int32_t> parent(n);
    std::iota(parent.begin(), parent.end(), 0);
    auto find = [&](int32_t v) {
        while (parent[v] != v) v = parent[v] = parent[parent[v]];
        return v;
    };
    auto join = [&](int64_t a, int64_t b) {
        const int32_t p = find(static_cast<int32_t>(a)), q = find(static_cast<int32_t>(b));
        if (p != q) parent[std::max(p, q)] = std::min(p, q);
    };
    for (int32_t h = 0; h < n; ++h) {
        if (c.twin[h] < h) continue;
        join(h, nextCorner(c.twin[h]));
        join(nextCorner(h), c.twin[h]);
    }
    c.corner.resize(n);
    c.position.clear();
    for (int32_t h = 0; h < n; ++h) {
        const int32_t root = find(h);
        if (root == h) {
            c.corner[h] = static_cast<int32_t>(c.position.size());
            c.position.push_back(at[h]);
        } else {
            c.corner[h] = c.corner[root];
        }
    }
}

FlatChart makeChart(const FaceGraph& graph, const std::vector<Vec3>& vertices, const std::vector<int32_t>& meshFaces,
                    std::vector<int32_t>&& faces, const std::vector<int32_t>& owner, int32_t id,
                    std::vector<int32_t>& local) {
    FlatChart c;
    c.faces = std::move(faces);
    const int64_t n = c.numReal();
    for (int64_t f = 0; f < n; ++f) local[c.faces[f]] = static_cast<int32_t>(f);
    c.twin.resize(3 * n);
    for (int64_t f = 0; f < n; ++f) {
        for (int k = 0; k < 3; ++k) {
            const int32_t t = graph.twin[3 * static_cast<int64_t>(c.faces[f]) + k];
            c.twin[3 * f + k] = t >= 0 && owner[t / 3] == id ? 3 * local[t / 3] + t % 3 : -1;
        }
    }
    std::vector<Vec3> at(3 * n);
    for (int64_t h = 0; h < 3 * n; ++h) at[h] = vertices[meshFaces[3 * static_cast<int64_t>(c.faces[h / 3]) + h % 3]];
    weldCorners(c, at);
    c.area.resize(n);
    double total = 0;
    for (int64_t f = 0; f < n; ++f) total += c.area[f] = graph.area[c.faces[f]];
    const double unit = total > 0 ? std::sqrt(total / static_cast<double>(n)) : 1;
    c.shape.resize(3 * n);
    for (int64_t f = 0; f < n; ++f) {
        layFlat(c.position[c.corner[3 * f]], c.position[c.corner[3 * f + 1]], c.position[c.corner[3 * f + 2]], unit,
                &c.shape[3 * f]);
    }
    return c;
}

double project(FlatChart& c, const FaceGraph& graph) {
    Vec3 axis;
    for (int64_t f = 0; f < c.numReal(); ++f) axis = axis + graph.normal[c.faces[f]] * c.area[f];
    axis = norm(axis) > 0 ? axis * (1 / norm(axis)) : Vec3{0, 0, 1};
    Vec3 s = cross(std::abs(axis.x) < 0.6 ? Vec3{1, 0, 0} : Vec3{0, 1, 0}, axis);
    s = s * (1 / norm(s));
    const Vec3 t = cross(axis, s);
    const Vec3 origin = c.position[0];
    c.uv.resize(c.position.size());
    for (size_t v = 0; v < c.uv.size(); ++v) c.uv[v] = {dot(c.position[v] - origin, s), dot(c.position[v] - origin, t)};
    double lowest = 1;
    for (int64_t f = 0; f < c.numReal(); ++f) {
        const Vec3& n = graph.normal[c.faces[f]];
        if (norm2(n) > 0) lowest = std::min(lowest, dot(n, axis));
    }
    return lowest;
}

void patchHoles(FlatChart& c, int64_t maxEdges, bool keepOuter) {
    const std::vector<std::vector<int32_t>> loops = borderLoops(c);
    if (loops.empty()) return;
    std::vector<double> length(loops.size(), 0);
    for (size_t i = 0; i < loops.size(); ++i) {
        for (int32_t h : loops[i]) length[i] += norm(c.position[c.corner[nextCorner(h)]] - c.position[c.corner[h]]);
    }
    const size_t outer = std::max_element(length.begin(), length.end()) - length.begin();
    for (size_t i = 0; i < loops.size(); ++i) {
        const int64_t n = static_cast<int64_t>(loops[i].size());
        if ((keepOuter && i == outer) || n > maxEdges) continue;
        Vec3 centre;
        for (int32_t h : loops[i]) centre = centre + c.position[c.corner[h]] * (1.0 / static_cast<double>(n));
        const int32_t middle = static_cast<int32_t>(c.position.size());
        c.position.push_back(centre);
        const int64_t first = static_cast<int64_t>(c.corner.size());
        for (int64_t k = 0; k < n; ++k) {  // half-edges: the twin of the border edge, to the centre, and back
            const int32_t h = loops[i][k], a = c.corner[nextCorner(h)], b = c.corner[h];
            const int64_t base = first + 3 * k;
            c.corner.insert(c.corner.end(), {a, b, middle});
            c.twin[h] = static_cast<int32_t>(base);
            c.twin.insert(c.twin.end(), {h, static_cast<int32_t>(first + 3 * ((k + n - 1) % n) + 2),
                                         static_cast<int32_t>(first + 3 * ((k + 1) % n) + 1)});
            c.shape.resize(c.shape.size() + 3);
            layFlat(c.position[a], c.position[b], centre, length[i] / static_cast<double>(n), &c.shape[base]);
            c.area.push_back(norm(cross(c.position[b] - c.position[a], centre - c.position[a])) / 2);
        }
    }
}

void dropPatches(FlatChart& c) {
    const size_t n = c.faces.size();
    if (c.corner.size() == 3 * n) return;
    c.corner.resize(3 * n);
    c.twin.resize(3 * n);
    c.shape.resize(3 * n);
    c.area.resize(n);
    int32_t vertices = 0;
    for (int32_t v : c.corner) vertices = std::max(vertices, v + 1);
    c.position.resize(vertices);
    c.uv.resize(std::min<size_t>(c.uv.size(), vertices));
    for (int32_t& t : c.twin) t = t >= static_cast<int32_t>(3 * n) ? -1 : t;
}

bool mirrored(const FlatChart& c, int64_t f) {
    const Vec2* s = &c.shape[3 * f];
    const double own = cross(s[1] - s[0], s[2] - s[0]) / 2;
    // A face that is a sliver in space may be one in the plane; it must not turn over.
    return c.signedArea(f) <= (c.area[f] < 0.5 * own ? 0.0 : 1e-3 * own);
}

double stretch(const FlatChart& c) {
    double flat = 0, space = 0, sum = 0;
    for (int64_t f = 0; f < c.numReal(); ++f) {
        const Vec2 *s = &c.shape[3 * f], &a = c.uv[c.corner[3 * f]], &b = c.uv[c.corner[3 * f + 1]],
                   &d = c.uv[c.corner[3 * f + 2]];
        // Inverse Jacobian: shape = J^-1 uv; its squared Frobenius norm.
        const Vec2 p = b - a, q = d - a, e = s[1] - s[0], g = s[2] - s[0];
        const double det = cross(p, q);
        if (!(det > 0) || !(c.area[f] > 0)) continue;
        const double m00 = (e.x * q.y - g.x * p.y) / det, m01 = (g.x * p.x - e.x * q.x) / det;
        const double m10 = (e.y * q.y - g.y * p.y) / det, m11 = (g.y * p.x - e.y * q.x) / det;
        flat += det / 2;
        space += c.area[f];
        sum += std::min(m00 * m00 + m01 * m01 + m10 * m10 + m11 * m11, 1e4) / 2 * c.area[f];
    }
    return space > 0 ? std::sqrt(sum / space * (flat / space)) : 1;
}

}  // namespace ovoxel::unwrap
