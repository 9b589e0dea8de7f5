#include "unwrap/flat_chart.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace ovoxel::unwrap {
namespace {

constexpr double kThinnest = 0.03;  // height over longest edge to which slivers are thickened

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

FlatChart makeChart(const FaceGraph& graph, const std::vector<Vec3>& vertices, const std::vector<int32_t>& meshFaces,
                    std::vector<int32_t>&& faces, const std::vector<int32_t>& owner, int32_t id,
                    std::vector<int32_t>& local) {
    FlatChart c;
    c.faces = std::move(faces);
    const int64_t n = c.numFaces();
    for (int64_t f = 0; f < n; ++f) local[c.faces[f]] = static_cast<int32_t>(f);
    c.twin.resize(3 * n);
    for (int64_t f = 0; f < n; ++f) {
        for (int k = 0; k < 3; ++k) {
            const int32_t t = graph.twin[3 * static_cast<int64_t>(c.faces[f]) + k];
            c.twin[3 * f + k] = t >= 0 && owner[t / 3] == id ? 3 * local[t / 3] + t % 3 : -1;
        }
    }
    // Corners joined across inner edges.
    std::vector<int32_t> parent(3 * n);
    std::iota(parent.begin(), parent.end(), 0);
    auto find = [&](int32_t v) {
        while (parent[v] != v) v = parent[v] = parent[parent[v]];
        return v;
    };
    auto join = [&](int64_t a, int64_t b) {
        const int32_t p = find(static_cast<int32_t>(a)), q = find(static_cast<int32_t>(b));
        if (p != q) parent[std::max(p, q)] = std::min(p, q);
    };
    for (int64_t h = 0; h < 3 * n; ++h) {
        if (c.twin[h] < h) continue;
        join(h, nextCorner(c.twin[h]));
        join(nextCorner(h), c.twin[h]);
    }
    c.corner.resize(3 * n);
    for (int64_t h = 0; h < 3 * n; ++h) {
        const int32_t root = find(static_cast<int32_t>(h));
        if (root == h) {
            c.corner[h] = static_cast<int32_t>(c.position.size());
            c.position.push_back(vertices[meshFaces[3 * static_cast<int64_t>(c.faces[h / 3]) + h % 3]]);
        } else {
            c.corner[h] = c.corner[root];
        }
    }
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
    for (int64_t f = 0; f < c.numFaces(); ++f) axis = axis + graph.normal[c.faces[f]] * c.area[f];
    axis = norm(axis) > 0 ? axis * (1 / norm(axis)) : Vec3{0, 0, 1};
    Vec3 s = cross(std::abs(axis.x) < 0.6 ? Vec3{1, 0, 0} : Vec3{0, 1, 0}, axis);
    s = s * (1 / norm(s));
    const Vec3 t = cross(axis, s);
    const Vec3 origin = c.position[0];
    c.uv.resize(c.position.size());
    for (size_t v = 0; v < c.uv.size(); ++v) c.uv[v] = {dot(c.position[v] - origin, s), dot(c.position[v] - origin, t)};
    double lowest = 1;
    for (int64_t f = 0; f < c.numFaces(); ++f) {
        const Vec3& n = graph.normal[c.faces[f]];
        if (norm2(n) > 0) lowest = std::min(lowest, dot(n, axis));
    }
    return lowest;
}

bool mirrored(const FlatChart& c, int64_t f) {
    const Vec2* s = &c.shape[3 * f];
    const double own = cross(s[1] - s[0], s[2] - s[0]) / 2;
    // A face that is a sliver in space may be one in the plane; it must not turn over.
    return c.signedArea(f) <= (c.area[f] < 0.5 * own ? 0.0 : 1e-3 * own);
}

double stretch(const FlatChart& c) {
    double flat = 0, space = 0, sum = 0;
    for (int64_t f = 0; f < c.numFaces(); ++f) {
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
