// Ways to take a chart apart that cannot be laid flat in one piece.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "unwrap/flat_chart.h"

namespace ovoxel::unwrap {
namespace {

// Connected parts of equal keys, as faces of the mesh.
std::vector<std::vector<int32_t>> parts(const FlatChart& c, const std::vector<int32_t>& key) {
    std::vector<std::vector<int32_t>> out;
    std::vector<int32_t> part(c.numFaces(), -1), stack;
    for (int64_t f = 0; f < c.numFaces(); ++f) {
        if (part[f] >= 0) continue;
        part[f] = static_cast<int32_t>(out.size());
        out.emplace_back();
        stack.push_back(static_cast<int32_t>(f));
        while (!stack.empty()) {
            const int32_t g = stack.back();
            stack.pop_back();
            out.back().push_back(c.faces[g]);
            for (int k = 0; k < 3; ++k) {
                const int32_t t = c.twin[3 * g + k];
                if (t < 0 || part[t / 3] >= 0 || key[t / 3] != key[g]) continue;
                part[t / 3] = part[f];
                stack.push_back(t / 3);
            }
        }
        std::sort(out.back().begin(), out.back().end());
    }
    return out;
}

// The faces with a key as parts of their own, unless they are much of the chart.
std::vector<std::vector<int32_t>> peel(const FlatChart& c, const std::vector<int32_t>& key) {
    double peeled = 0, total = 0;
    for (int64_t f = 0; f < c.numFaces(); ++f) total += c.area[f], peeled += key[f] ? c.area[f] : 0;
    if (peeled > 0.1 * total) return {};
    std::vector<std::vector<int32_t>> out = parts(c, key);
    return out.size() > 1 ? out : std::vector<std::vector<int32_t>>{};
}

// Grid cells whose centre lies strictly inside the face.
template <class Visit>
void cellsInside(const Vec2* p, int64_t width, int64_t height, Visit&& visit) {
    const int64_t c0 = std::max<int64_t>(0, static_cast<int64_t>(std::min({p[0].x, p[1].x, p[2].x}) - 0.5));
    const int64_t c1 = std::min<int64_t>(width - 1, static_cast<int64_t>(std::max({p[0].x, p[1].x, p[2].x}) + 0.5));
    const int64_t r0 = std::max<int64_t>(0, static_cast<int64_t>(std::min({p[0].y, p[1].y, p[2].y}) - 0.5));
    const int64_t r1 = std::min<int64_t>(height - 1, static_cast<int64_t>(std::max({p[0].y, p[1].y, p[2].y}) + 0.5));
    for (int64_t r = r0; r <= r1; ++r) {
        for (int64_t k = c0; k <= c1; ++k) {
            const Vec2 q{static_cast<double>(k) + 0.5, static_cast<double>(r) + 0.5};
            bool inside = true;
            for (int i = 0; i < 3 && inside; ++i) inside = cross(p[(i + 1) % 3] - p[i], q - p[i]) > 1e-9;
            if (inside) visit(r * width + k);
        }
    }
}

}  // namespace

std::vector<std::vector<int32_t>> peelMirrored(const FlatChart& c) {
    std::vector<int32_t> key(c.numFaces(), 0);
    for (int64_t f = 0; f < c.numFaces(); ++f) key[f] = mirrored(c, f);
    const std::vector<int32_t> core = key;
    for (int64_t f = 0; f < c.numFaces(); ++f) {
        for (int k = 0; k < 3 && core[f]; ++k) {
            if (c.twin[3 * f + k] >= 0) key[c.twin[3 * f + k] / 3] = 1;
        }
    }
    return peel(c, key);
}

std::vector<std::vector<int32_t>> peelCrossing(const FlatChart& c) {
    std::vector<int32_t> key(c.numFaces(), 0);
    for (int32_t h : borderCrossings(c)) key[h / 3] = 1;
    return peel(c, key);
}

std::vector<std::vector<int32_t>> cutOverlap(const FlatChart& c) {
    double x0 = 1e300, y0 = 1e300, x1 = -1e300, y1 = -1e300, area = 0;
    Vec2 middle{};
    for (const Vec2& p : c.uv) {
        x0 = std::min(x0, p.x), x1 = std::max(x1, p.x), y0 = std::min(y0, p.y), y1 = std::max(y1, p.y);
    }
    for (int64_t f = 0; f < c.numFaces(); ++f) {
        const double a = std::abs(c.signedArea(f));
        for (int k = 0; k < 3; ++k) middle = middle + c.uv[c.corner[3 * f + k]] * (a / 3);
        area += a;
    }
    if (!(area > 0)) return {};
    middle = middle * (1 / area);
    const double extent = std::max(x1 - x0, y1 - y0);
    const double size = std::clamp(4 * std::sqrt(static_cast<double>(c.numFaces())), 32.0, 768.0), scale = size / extent;
    const int64_t width = static_cast<int64_t>((x1 - x0) * scale) + 1, height = static_cast<int64_t>((y1 - y0) * scale) + 1;
    std::vector<uint8_t> taken(width * height, 0);
    auto corners = [&](int64_t f, Vec2* p) {
        for (int k = 0; k < 3; ++k) p[k] = (c.uv[c.corner[3 * f + k]] - Vec2{x0, y0}) * scale;
    };
    int64_t seed = 0;
    double nearest = 1e300;
    for (int64_t f = 0; f < c.numFaces(); ++f) {
        const Vec2 d = (c.uv[c.corner[3 * f]] + c.uv[c.corner[3 * f + 1]] + c.uv[c.corner[3 * f + 2]]) * (1.0 / 3) - middle;
        if (dot(d, d) < nearest) nearest = dot(d, d), seed = f;
    }
    // Grow from the middle, breadth first, and leave out what would land on cells that are taken.
    std::vector<int32_t> key(c.numFaces(), 0), queue{static_cast<int32_t>(seed)};
    std::vector<uint8_t> seen(c.numFaces(), 0);
    seen[seed] = 1;
    double work = 64.0 * static_cast<double>(width * height) + 64.0 * static_cast<double>(c.numFaces());
    for (size_t i = 0; i < queue.size(); ++i) {
        const int32_t f = queue[i];
        Vec2 p[3];
        corners(f, p);
        work -= (std::max({p[0].x, p[1].x, p[2].x}) - std::min({p[0].x, p[1].x, p[2].x}) + 2) *
                (std::max({p[0].y, p[1].y, p[2].y}) - std::min({p[0].y, p[1].y, p[2].y}) + 2);
        if (work < 0) return {};
        bool free = true;
        cellsInside(p, width, height, [&](int64_t cell) { free &= !taken[cell]; });
        if (!free) continue;
        cellsInside(p, width, height, [&](int64_t cell) { taken[cell] = 1; });
        key[f] = 1;
        for (int k = 0; k < 3; ++k) {
            const int32_t t = c.twin[3 * f + k];
            if (t < 0 || seen[t / 3]) continue;
            seen[t / 3] = 1;
            queue.push_back(t / 3);
        }
    }
    std::vector<std::vector<int32_t>> out = parts(c, key);
    return out.size() > 1 && out.size() <= 12 ? out : std::vector<std::vector<int32_t>>{};
}

std::vector<std::vector<int32_t>> cutInHalf(const FlatChart& c) {
    const int64_t n = c.numFaces();
    std::vector<Vec3> centre(n);
    Vec3 mean;
    for (int64_t f = 0; f < n; ++f) {
        centre[f] = (c.position[c.corner[3 * f]] + c.position[c.corner[3 * f + 1]] + c.position[c.corner[3 * f + 2]]) *
                    (1.0 / 3);
        mean = mean + centre[f] * (1.0 / static_cast<double>(n));
    }
    // The widest direction, by power iteration on the covariance.
    double m[3][3] = {};
    for (int64_t f = 0; f < n; ++f) {
        const Vec3 d = centre[f] - mean;
        for (int i = 0; i < 3; ++i) {
            for (int j = 0; j < 3; ++j) m[i][j] += d[i] * d[j];
        }
    }
    Vec3 axis{0.9, 0.7, 0.5};
    for (int i = 0; i < 32; ++i) {
        const Vec3 next{m[0][0] * axis.x + m[0][1] * axis.y + m[0][2] * axis.z,
                        m[1][0] * axis.x + m[1][1] * axis.y + m[1][2] * axis.z,
                        m[2][0] * axis.x + m[2][1] * axis.y + m[2][2] * axis.z};
        const double size = norm(next);
        if (!(size > 0)) break;
        axis = next * (1 / size);
    }
    std::vector<int32_t> order(n), key(n, 0);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
        const double x = dot(centre[a], axis), y = dot(centre[b], axis);
        return x != y ? x < y : a < b;
    });
    for (int64_t i = n / 2; i < n; ++i) key[order[i]] = 1;
    return parts(c, key);
}

}  // namespace ovoxel::unwrap
