// The as-rigid-as-possible map of a chart.
#include <algorithm>
#include <cmath>
#include <limits>

#include "unwrap/flat_chart.h"

namespace ovoxel::unwrap {
namespace {

constexpr double kStrain = 0.02;   // mean strain that is good enough
constexpr double kSlow = 0.96;     // share of the energy that a round must get below to be worth another
constexpr double kAnchor = 1e-6;  // hold on the present place: without it a shift of the whole would be free

// The Laplacian of a chart in compressed rows.
struct Laplacian {
    std::vector<int32_t> start, column;  // neighbours of each vertex
    std::vector<double> weight, diagonal;
    std::vector<double> half;            // [3n] weight of each half-edge: half the cotangent of the angle opposite

    explicit Laplacian(const FlatChart& c) {
        const int64_t n = c.numFaces(), m = c.numVertices();
        half.resize(3 * n);
        for (int64_t f = 0; f < n; ++f) {
            const Vec2* s = &c.shape[3 * f];
            const double twice = cross(s[1] - s[0], s[2] - s[0]);
            for (int k = 0; k < 3; ++k) {
                const Vec2 &o = s[(k + 2) % 3], &a = s[k], &b = s[(k + 1) % 3];
                half[3 * f + k] = dot(a - o, b - o) / twice / 2;
            }
        }
        // A half-edge contributes to its two ends; twins add up in one entry.
        std::vector<int32_t> count(m + 1, 0);
        auto owns = [&](int64_t h) { return c.twin[h] < 0 || h < c.twin[h]; };
        for (int64_t h = 0; h < 3 * n; ++h) {
            if (!owns(h)) continue;
            ++count[c.corner[h] + 1];
            ++count[c.corner[nextCorner(h)] + 1];
        }
        for (int64_t v = 0; v < m; ++v) count[v + 1] += count[v];
        start = count;
        column.resize(start[m]);
        weight.resize(start[m]);
        diagonal.assign(m, 0);
        for (int64_t h = 0; h < 3 * n; ++h) {
            if (!owns(h)) continue;
            const double w = half[h] + (c.twin[h] >= 0 ? half[c.twin[h]] : 0);
            const int32_t a = c.corner[h], b = c.corner[nextCorner(h)];
            column[count[a]] = b, weight[count[a]++] = w;
            column[count[b]] = a, weight[count[b]++] = w;
            diagonal[a] += w;
            diagonal[b] += w;
        }
    }

    void apply(const std::vector<Vec2>& x, std::vector<Vec2>& y) const {
        for (size_t v = 0; v < diagonal.size(); ++v) {
            Vec2 sum = x[v] * diagonal[v];
            for (int32_t i = start[v]; i < start[v + 1]; ++i) sum = sum - x[column[i]] * weight[i];
            y[v] = sum;
        }
    }
};

// Right-hand side of the global step: every face turned by the rotation nearest to its present map. Returns how far the
// edges are from that: the integral of the squared strain.
double rotate(const FlatChart& c, const Laplacian& l, std::vector<Vec2>& rhs) {
    double energy = 0;
    std::fill(rhs.begin(), rhs.end(), Vec2{});
    for (int64_t f = 0; f < c.numFaces(); ++f) {
        double along = 0, across = 0;  // of sum w (edge in the plane) (edge of the shape)^T: trace and skew part
        Vec2 edge[3];
        for (int k = 0; k < 3; ++k) {
            const int64_t h = 3 * f + k;
            edge[k] = c.shape[3 * f + (k + 1) % 3] - c.shape[h];
            const Vec2 now = c.uv[c.corner[3 * f + (k + 1) % 3]] - c.uv[c.corner[h]];
            energy += l.half[h] * (dot(edge[k], edge[k]) + dot(now, now));
            along += l.half[h] * dot(edge[k], now);
            across += l.half[h] * cross(edge[k], now);
        }
        const double size = std::sqrt(along * along + across * across);
        energy -= 2 * size;
        const double cosine = size > 0 ? along / size : 1, sine = size > 0 ? across / size : 0;
        for (int k = 0; k < 3; ++k) {
            const Vec2 turned = Vec2{cosine * edge[k].x - sine * edge[k].y, sine * edge[k].x + cosine * edge[k].y} *
                                l.half[3 * f + k];
            Vec2 &a = rhs[c.corner[3 * f + k]], &b = rhs[c.corner[3 * f + (k + 1) % 3]];
            b = b + turned;
            a = a - turned;
        }
    }
    return energy;
}

// Jacobi-preconditioned conjugate gradients for both coordinates at once, from the present positions.
void solve(const Laplacian& l, const std::vector<Vec2>& rhs, std::vector<Vec2>& x, int iterations, double tolerance) {
    const size_t m = x.size();
    std::vector<Vec2> r(m), p(m), q(m);
    std::vector<double> inverse(m);
    for (size_t v = 0; v < m; ++v) inverse[v] = l.diagonal[v] > 0 ? 1 / l.diagonal[v] : 0;
    l.apply(x, q);
    double rx = 0, ry = 0, size = 0;
    for (size_t v = 0; v < m; ++v) {
        size += dot(rhs[v], rhs[v]) * inverse[v];
        r[v] = rhs[v] - q[v];
        p[v] = r[v] * inverse[v];
        rx += r[v].x * p[v].x, ry += r[v].y * p[v].y;
    }
    const double stop = tolerance * tolerance * (rx + ry);
    // A coordinate that is solved stays: only rounding is left of it, along which the steps would be large.
    const double doneX = std::max(1e-10 * rx, 1e-20 * size), doneY = std::max(1e-10 * ry, 1e-20 * size);
    for (int i = 0; i < iterations && rx + ry > stop && rx + ry > 0; ++i) {
        l.apply(p, q);
        for (size_t v = 0; v < m; ++v) q[v] = q[v] + p[v] * (kAnchor * l.diagonal[v]);
        double px = 0, py = 0;
        for (size_t v = 0; v < m; ++v) px += p[v].x * q[v].x, py += p[v].y * q[v].y;
        const double ax = rx > doneX && px > 0 ? rx / px : 0, ay = ry > doneY && py > 0 ? ry / py : 0;
        double nx = 0, ny = 0;
        for (size_t v = 0; v < m; ++v) {
            x[v] = {x[v].x + ax * p[v].x, x[v].y + ay * p[v].y};
            r[v] = {r[v].x - ax * q[v].x, r[v].y - ay * q[v].y};
            nx += r[v].x * r[v].x * inverse[v], ny += r[v].y * r[v].y * inverse[v];
        }
        const double bx = rx > 0 ? nx / rx : 0, by = ry > 0 ? ny / ry : 0;
        for (size_t v = 0; v < m; ++v) {
            p[v] = {r[v].x * inverse[v] + bx * p[v].x, r[v].y * inverse[v] + by * p[v].y};
        }
        rx = nx, ry = ny;
    }
}

}  // namespace

void relax(FlatChart& c, int rounds) {
    const Laplacian laplacian(c);
    std::vector<Vec2> rhs(c.uv.size());
    double area = 0, before = std::numeric_limits<double>::infinity();
    for (double a : c.area) area += a;
    for (int round = 0; round < rounds; ++round) {
        const double energy = rotate(c, laplacian, rhs);
        if (energy < kStrain * kStrain * area || energy > kSlow * before) return;
        before = energy;
        solve(laplacian, rhs, c.uv, 40, 1e-2);
    }
}

}  // namespace ovoxel::unwrap
