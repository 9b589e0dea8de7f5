// Crossings of one triangle with the grid lines: the only place that decides which voxels a surface has.
#pragma once

#include "convert/grid_body.h"

namespace ovoxel {

// A triangle crosses the grid edge that runs along `axis` from `cell`'s corner (+1 on the two other axes).
struct Crossing {
    int32_t cell[3];  // x, y, z of the lowest of the four voxels around the edge
    int32_t triangle;
    float at;  // position along `axis` inside the cell, in voxels, [0, 1]
    int32_t axis;
};

// Shift (in voxels) given to the surface before it is compared with the grid. It decides every tie, the same way for
// all triangles and all axes, so that a surface lying on grid planes or passing through grid corners stays closed.
// Positive: a plane p belongs to lower < p <= upper. The ratios avoid the slopes that meshes are made of. Rounding of
// double at 2^20 cells is 1e-10, four orders below.
OVOXEL_HD inline double tieShift(int axis) { return axis == 0 ? 1.1357e-6 : axis == 1 ? 1.6180e-6 : 2.7539e-6; }

// A crossing this far (in voxels) outside the box counts as lying on its surface: float rounding of a mesh that was
// fitted to the box must not cost a whole layer.
constexpr double kOutsideTolerance = 1e-4;

struct ProjectedPoint {
    double u, w, a;
};

OVOXEL_HD inline void sortByW(ProjectedPoint t[3]) {
    for (int pass = 0; pass < 2; ++pass)
        for (int i = 0; i < 2; ++i)
            if (t[i + 1].w < t[i].w) {
                const ProjectedPoint swap = t[i];
                t[i] = t[i + 1];
                t[i + 1] = swap;
            }
}

// Crossings with lines along axis `a`, correct mode: grid units, exact tie rule, every edge evaluated from its lower
// end, so that two triangles that share an edge agree to the last bit on where it meets a scan plane.
template <class Emit>
OVOXEL_HD inline void crossAxisExact(const GridSpec& g, const Triangle& tri, int a, Emit&& emit) {
    const int u = (a + 1) % 3, w = (a + 2) % 3;
    ProjectedPoint t[3];
    for (int i = 0; i < 3; ++i) {
        t[i].u = tri.p[i][u] / g.size[u] + tieShift(u);
        t[i].w = tri.p[i][w] / g.size[w] + tieShift(w);
        t[i].a = tri.p[i][a] / g.size[a] + tieShift(a);
    }
    sortByW(t);
    const int64_t first = clampIndex(std::floor(t[0].w), 0, g.count[w] - 1) + 1;
    const int64_t last = clampIndex(std::floor(t[2].w), 0, g.count[w] - 1);
    for (int64_t row = first; row <= last; ++row) {
        const double plane = static_cast<double>(row);
        const ProjectedPoint& lo = plane <= t[1].w ? t[0] : t[1];
        const ProjectedPoint& hi = plane <= t[1].w ? t[1] : t[2];
        const double f = (plane - lo.w) / (hi.w - lo.w), h = (plane - t[0].w) / (t[2].w - t[0].w);
        double uA = lo.u + f * (hi.u - lo.u), aA = lo.a + f * (hi.a - lo.a);
        double uB = t[0].u + h * (t[2].u - t[0].u), aB = t[0].a + h * (t[2].a - t[0].a);
        if (uB < uA) {
            double swap = uA;
            uA = uB, uB = swap;
            swap = aA;
            aA = aB, aB = swap;
        }
        const int64_t firstColumn = clampIndex(std::floor(uA), 0, g.count[u] - 1) + 1;
        const int64_t lastColumn = clampIndex(std::floor(uB), 0, g.count[u] - 1);
        const double aMin = aA < aB ? aA : aB, aMax = aA < aB ? aB : aA;
        for (int64_t column = firstColumn; column <= lastColumn; ++column) {
            double at = aA + (static_cast<double>(column) - uA) / (uB - uA) * (aB - aA);
            at = at < aMin ? aMin : at > aMax ? aMax : at;
            const double count = static_cast<double>(g.count[a]);
            if (!(at >= -kOutsideTolerance && at <= count + kOutsideTolerance)) continue;
            const int64_t k = clampIndex(std::floor(at), 0, g.count[a] - 1);
            double local = at - tieShift(a) - static_cast<double>(k);
            local = local < 0 ? 0 : local > 1 ? 1 : local;
            emit(a, column - 1, row - 1, k, local);
        }
    }
}

// The same with the published arithmetic (mesh units, truncation, edges evaluated from the apex of each half).
template <class Emit>
OVOXEL_HD inline void crossAxisPublished(const GridSpec& g, const Triangle& tri, int a, Emit&& emit) {
    const int u = (a + 1) % 3, w = (a + 2) % 3;
    ProjectedPoint t[3];
    for (int i = 0; i < 3; ++i) t[i] = {tri.p[i][u], tri.p[i][w], tri.p[i][a]};
    sortByW(t);
    int64_t r[3];
    for (int i = 0; i < 3; ++i) r[i] = clampIndex(std::trunc(t[i].w / g.size[w]), 0, g.count[w] - 1);
    for (int half = 0; half < 2; ++half) {
        const ProjectedPoint& apex = half == 0 ? t[0] : t[2];
        const ProjectedPoint& far = half == 0 ? t[2] : t[0];
        for (int64_t row = r[half]; row < r[half + 1]; ++row) {
            const double plane = static_cast<float>(row + 1) * static_cast<float>(g.size[w]);
            ProjectedPoint ends[2];
            for (int e = 0; e < 2; ++e) {
                const ProjectedPoint& q = e == 0 ? t[1] : far;
                const double f = apex.w == q.w ? 0.0 : (plane - apex.w) / (q.w - apex.w);
                ends[e] = {(1 - f) * apex.u + f * q.u, plane, (1 - f) * apex.a + f * q.a};
            }
            const bool ordered = !(ends[1].u < ends[0].u);
            const ProjectedPoint& A = ordered ? ends[0] : ends[1];
            const ProjectedPoint& B = ordered ? ends[1] : ends[0];
            const int64_t firstColumn = clampIndex(std::trunc(A.u / g.size[u]), 0, g.count[u] - 1);
            const int64_t lastColumn = clampIndex(std::trunc(B.u / g.size[u]), 0, g.count[u] - 1);
            for (int64_t column = firstColumn; column < lastColumn; ++column) {
                const double line = static_cast<float>(column + 1) * static_cast<float>(g.size[u]);
                const double f = A.u == B.u ? 0.0 : (line - A.u) / (B.u - A.u);
                const double at = (1 - f) * A.a + f * B.a;
                const double k = std::trunc(at / g.size[a]);
                if (!(k >= 0 && k < static_cast<double>(g.count[a]))) continue;
                emit(a, column, row, static_cast<int64_t>(k), at / g.size[a] - k);
            }
        }
    }
}

// Calls emit(axis, cellU, cellW, cellA, positionInCell) for every crossing of the triangle, axes x, y, z in turn.
template <class Emit>
OVOXEL_HD inline void crossTriangle(const GridSpec& g, const Triangle& tri, Emit&& emit) {
    for (int a = 0; a < 3; ++a) {
        if (g.published)
            crossAxisPublished(g, tri, a, emit);
        else
            crossAxisExact(g, tri, a, emit);
    }
}

}  // namespace ovoxel
