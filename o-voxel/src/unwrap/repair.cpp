// Small repairs of a flat chart: mirrored faces turned over, borders that cross themselves pulled apart.
#include <algorithm>
#include <cmath>

#include "unwrap/flat_chart.h"

namespace ovoxel::unwrap {
namespace {

constexpr double kEnough = 0.4;
constexpr int64_t kMostCorners = 64;  // vertices with more stay where they are: the work is quadratic in them

// The corners around each vertex.
struct Stars {
    std::vector<int32_t> start, around;

    explicit Stars(const FlatChart& c) : start(c.numVertices() + 1, 0), around(c.corner.size()) {
        for (int32_t v : c.corner) ++start[v + 1];
        for (int64_t v = 0; v < c.numVertices(); ++v) start[v + 1] += start[v];
        std::vector<int32_t> at(start.begin(), start.end() - 1);
        for (size_t h = 0; h < c.corner.size(); ++h) around[at[c.corner[h]]++] = static_cast<int32_t>(h);
    }
    const int32_t* begin(int32_t v) const { return around.data() + start[v]; }
    const int32_t* end(int32_t v) const { return around.data() + start[v + 1]; }
};

// How well the faces around a vertex stand: the smallest signed area relative to that of the shape. Larger ones than
// kEnough do not count as better: vertices would run away.
double worst(const FlatChart& c, const Stars& stars, int32_t v) {
    double low = kEnough;
    for (const int32_t* h = stars.begin(v); h != stars.end(v); ++h) {
        const int64_t f = *h / 3;
        const Vec2* s = &c.shape[3 * f];
        low = std::min(low, 2 * c.signedArea(f) / cross(s[1] - s[0], s[2] - s[0]));
    }
    return low;
}

Vec2 meanOfNeighbours(const FlatChart& c, const Stars& stars, int32_t v) {
    Vec2 sum{};
    for (const int32_t* h = stars.begin(v); h != stars.end(v); ++h) {
        const int64_t f = *h / 3, i = *h % 3;
        sum = sum + c.uv[c.corner[3 * f + (i + 1) % 3]] + c.uv[c.corner[3 * f + (i + 2) % 3]];
    }
    return sum * (0.5 / static_cast<double>(stars.end(v) - stars.begin(v)));
}

// Moves a vertex to the place, of several, at which its worst face stands best.
void improve(FlatChart& c, const Stars& stars, int32_t v) {
    if (stars.end(v) - stars.begin(v) > kMostCorners) return;
    const Vec2 before = c.uv[v];
    Vec2 best = before;
    double score = worst(c, stars, v);
    auto attempt = [&](const Vec2& p) {
        c.uv[v] = p;
        const double s = worst(c, stars, v);
        if (s > score) score = s, best = p;
    };
    for (const int32_t* h = stars.begin(v); h != stars.end(v); ++h) {
        const int64_t g = *h / 3, i = *h % 3;
        const Vec2 &a = c.uv[c.corner[3 * g + (i + 1) % 3]], &b = c.uv[c.corner[3 * g + (i + 2) % 3]];
        // Where this face would like to have the vertex: its shape over the edge opposite.
        const Vec2 &sa = c.shape[3 * g + (i + 1) % 3], &sb = c.shape[3 * g + (i + 2) % 3];
        const Vec2 base = sb - sa, apex = c.shape[3 * g + i] - sa, now = b - a;
        const double length2 = dot(base, base);
        if (!(length2 > 0)) continue;
        const double x = dot(base, apex) / length2, y = cross(base, apex) / length2;
        const Vec2 ideal = a + now * x + Vec2{-now.y, now.x} * y;
        attempt(ideal);
        attempt((ideal + before) * 0.5);
    }
    c.uv[v] = before;
    const Vec2 mean = meanOfNeighbours(c, stars, v);
    attempt(mean);
    attempt((mean + before) * 0.5);
    c.uv[v] = best;
}

std::vector<int32_t> allMirrored(const FlatChart& c) {
    std::vector<int32_t> out;
    for (int64_t f = 0; f < c.numFaces(); ++f) {
        if (mirrored(c, f)) out.push_back(static_cast<int32_t>(f));
    }
    return out;
}

// Vertices within `rings` edges of the faces.
std::vector<int32_t> around(const FlatChart& c, const Stars& stars, const std::vector<int32_t>& faces, int rings) {
    std::vector<int32_t> out;
    std::vector<uint8_t> seen(c.numVertices(), 0);
    auto take = [&](int64_t f) {
        for (int k = 0; k < 3; ++k) {
            const int32_t v = c.corner[3 * f + k];
            if (!seen[v]) seen[v] = 1, out.push_back(v);
        }
    };
    for (int32_t f : faces) take(f);
    for (size_t begin = 0; rings > 0; --rings) {
        const size_t end = out.size();
        for (size_t i = begin; i < end; ++i) {
            if (stars.end(out[i]) - stars.begin(out[i]) > kMostCorners) continue;
            for (const int32_t* h = stars.begin(out[i]); h != stars.end(out[i]); ++h) take(*h / 3);
        }
        begin = end;
    }
    return out;
}

// Draws a vertex towards the mean of its neighbours as far as no face is pressed flat that was not before.
void soften(FlatChart& c, const Stars& stars, int32_t v) {
    if (stars.end(v) - stars.begin(v) > kMostCorners) return;
    const Vec2 before = c.uv[v], mean = meanOfNeighbours(c, stars, v);
    const double floor = std::min(0.05, worst(c, stars, v));
    for (double step : {0.6, 0.3, 0.1}) {
        c.uv[v] = before + (mean - before) * step;
        if (worst(c, stars, v) >= floor) return;
    }
    c.uv[v] = before;
}

}  // namespace

int64_t untangle(FlatChart& c, int sweeps) {
    std::vector<int32_t> bad = allMirrored(c);
    if (bad.empty() || static_cast<int64_t>(bad.size()) * 10 > c.numFaces() + 40) {
        return static_cast<int64_t>(bad.size());
    }
    const Stars stars(c);
    for (int sweep = 0; sweep < sweeps && !bad.empty(); ++sweep) {
        if (sweep >= sweeps / 2) {  // make room: relax a growing neighbourhood
            for (int32_t v : around(c, stars, bad, 1 + 6 * sweep / sweeps - 3)) soften(c, stars, v);
        }
        for (int32_t f : bad) {
            for (int k = 0; k < 3; ++k) improve(c, stars, c.corner[3 * f + k]);
        }
        bad = allMirrored(c);
    }
    return static_cast<int64_t>(bad.size());
}

bool smoothBorder(FlatChart& c, int sweeps) {
    std::vector<int32_t> crossing = borderCrossings(c);
    if (crossing.empty()) return true;
    const Stars stars(c);
    size_t fewest = crossing.size();
    for (int sweep = 0; sweep < sweeps && !crossing.empty(); ++sweep) {
        for (int32_t& h : crossing) h /= 3;
        for (int32_t v : around(c, stars, crossing, 3 * sweep / sweeps)) soften(c, stars, v);
        crossing = borderCrossings(c);
        if (sweep % 8 == 7) {  // no progress: this is no matter of single vertices
            if (crossing.size() > 8 && 10 * crossing.size() > 7 * fewest) break;
            fewest = crossing.size();
        }
    }
    return crossing.empty();
}

}  // namespace ovoxel::unwrap
