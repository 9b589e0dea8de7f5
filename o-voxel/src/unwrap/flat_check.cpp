// Where the border of a flat chart crosses itself.
#include <algorithm>
#include <cmath>

#include "unwrap/flat_chart.h"

namespace ovoxel::unwrap {
namespace {

struct Segment {
    int32_t from, to, halfEdge;
};

double side(const Vec2& a, const Vec2& b, const Vec2& p) { return cross(b - a, p - a); }

// Proper crossings, and segments that lie on each other in one direction (then two faces lie on the same side).
bool clash(const std::vector<Vec2>& uv, const Segment& s, const Segment& t) {
    const Vec2 &a = uv[s.from], &b = uv[s.to], &c = uv[t.from], &d = uv[t.to];
    const double c1 = side(a, b, c), d1 = side(a, b, d);
    if (c1 == 0 && d1 == 0) {
        const Vec2 e = b - a;
        if (dot(e, d - c) <= 0) return false;
        const double end = dot(e, e), from = dot(e, c - a), to = dot(e, d - a);
        return std::min(end, to) > std::max(0.0, from);
    }
    if (s.from == t.from || s.from == t.to || s.to == t.from || s.to == t.to) return false;
    const double a1 = side(c, d, a), b1 = side(c, d, b);
    // Touching counts as crossing when the other end lies inside: only one-sided contact is harmless.
    return ((c1 > 0 && d1 < 0) || (c1 < 0 && d1 > 0)) && ((a1 > 0 && b1 < 0) || (a1 < 0 && b1 > 0));
}

}  // namespace

std::vector<int32_t> borderCrossings(const FlatChart& c) {
    std::vector<Segment> border;
    double length = 0, x0 = 1e300, y0 = 1e300, x1 = -1e300, y1 = -1e300;
    for (int64_t h = 0; h < 3 * c.numFaces(); ++h) {
        if (c.twin[h] >= 0) continue;
        border.push_back({c.corner[h], c.corner[nextCorner(h)], static_cast<int32_t>(h)});
        const Vec2 &a = c.uv[border.back().from], &b = c.uv[border.back().to];
        length += std::abs(b.x - a.x) + std::abs(b.y - a.y);
        x0 = std::min({x0, a.x, b.x}), x1 = std::max({x1, a.x, b.x});
        y0 = std::min({y0, a.y, b.y}), y1 = std::max({y1, a.y, b.y});
    }
    if (border.size() <= 3) return {};
    // A grid whose cells are about as long as the segments; their entries stay proportional to the segments.
    const double extent = std::max(x1 - x0, y1 - y0);
    const double cell = std::max({extent / 1024, length / static_cast<double>(border.size()), 1e-300});
    const int64_t width = static_cast<int64_t>((x1 - x0) / cell) + 1, height = static_cast<int64_t>((y1 - y0) / cell) + 1;
    std::vector<std::pair<int32_t, int32_t>> entries;  // (cell, segment)
    for (size_t i = 0; i < border.size(); ++i) {
        Vec2 a = c.uv[border[i].from], b = c.uv[border[i].to];
        if (a.y > b.y) std::swap(a, b);
        const int64_t r0 = static_cast<int64_t>((a.y - y0) / cell), r1 = static_cast<int64_t>((b.y - y0) / cell);
        for (int64_t r = r0; r <= r1; ++r) {
            // The part of the segment in this row of cells, a little larger against rounding.
            const double low = std::max(a.y, y0 + static_cast<double>(r) * cell - 1e-6 * cell),
                         high = std::min(b.y, y0 + static_cast<double>(r + 1) * cell + 1e-6 * cell);
            const double slope = b.y > a.y ? (b.x - a.x) / (b.y - a.y) : 0;
            double xa = b.y > a.y ? a.x + (low - a.y) * slope : a.x, xb = b.y > a.y ? a.x + (high - a.y) * slope : b.x;
            if (xa > xb) std::swap(xa, xb);
            const int64_t c0 = std::clamp<int64_t>(static_cast<int64_t>((xa - x0) / cell - 1e-6), 0, width - 1),
                          c1 = std::clamp<int64_t>(static_cast<int64_t>((xb - x0) / cell + 1e-6), 0, width - 1);
            const int64_t row = std::min(r, height - 1);
            for (int64_t k = c0; k <= c1; ++k) {
                entries.push_back({static_cast<int32_t>(row * width + k), static_cast<int32_t>(i)});
            }
        }
    }
    std::sort(entries.begin(), entries.end());
    std::vector<int32_t> crossing;
    int64_t budget = 64 * static_cast<int64_t>(entries.size()) + 100000;
    for (size_t i = 0; i < entries.size(); ++i) {
        for (size_t j = i + 1; j < entries.size() && entries[j].first == entries[i].first; ++j) {
            const Segment &s = border[entries[i].second], &t = border[entries[j].second];
            if (--budget > 0 && !clash(c.uv, s, t)) continue;
            crossing.push_back(s.halfEdge);  // a border too crowded to be checked counts as one that crosses
            crossing.push_back(t.halfEdge);
            if (budget <= 0) i = j = entries.size() - 1;
        }
    }
    std::sort(crossing.begin(), crossing.end());
    crossing.erase(std::unique(crossing.begin(), crossing.end()), crossing.end());
    return crossing;
}

std::vector<std::vector<int32_t>> borderLoops(const FlatChart& c) {
    std::vector<int32_t> next(c.numVertices(), -1);  // the border half-edge that leaves each vertex
    for (size_t h = 0; h < c.corner.size(); ++h) {
        if (c.twin[h] < 0) next[c.corner[h]] = static_cast<int32_t>(h);
    }
    std::vector<std::vector<int32_t>> loops;
    for (size_t h = 0; h < c.corner.size(); ++h) {
        if (c.twin[h] >= 0 || next[c.corner[h]] < 0) continue;
        loops.emplace_back();
        for (int32_t v = c.corner[h]; next[v] >= 0;) {
            const int32_t out = next[v];
            loops.back().push_back(out);
            next[v] = -1;
            v = c.corner[nextCorner(out)];
        }
    }
    return loops;
}

bool oneOuterLoop(const FlatChart& c) {
    int outer = 0;
    for (const std::vector<int32_t>& loop : borderLoops(c)) {
        const Vec2 origin = c.uv[c.corner[loop[0]]];
        double area = 0;
        for (int32_t h : loop) area += cross(c.uv[c.corner[h]] - origin, c.uv[c.corner[nextCorner(h)]] - origin);
        outer += area > 0;
    }
    return outer == 1;
}

}  // namespace ovoxel::unwrap
