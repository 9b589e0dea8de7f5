// Walk over the cells that a line segment passes (3-D DDA, Amanatides and Woo 1987).
#pragma once

#include "convert/grid_body.h"

namespace ovoxel {

// Cuts a segment to the box of the grid and one cell around it; false if nothing is left. Keeps walks short and cell
// numbers small for segments that reach far outside.
OVOXEL_HD inline bool clipSegment(const GridSpec& g, Vec3& from, Vec3& to) {
    const Vec3 delta = to - from;
    double begin = 0, end = 1;
    for (int a = 0; a < 3; ++a) {
        const double lo = -g.size[a], hi = static_cast<double>(g.count[a] + 1) * g.size[a];
        if (delta[a] == 0) {
            if (from[a] < lo || from[a] > hi) return false;
            continue;
        }
        const double t0 = (lo - from[a]) / delta[a], t1 = (hi - from[a]) / delta[a];
        const double enter = t0 < t1 ? t0 : t1, leave = t0 < t1 ? t1 : t0;
        if (enter > begin) begin = enter;
        if (leave < end) end = leave;
    }
    if (!(begin <= end)) return false;
    if (end < 1) to = from + delta * end;
    if (begin > 0) from = from + delta * begin;
    return true;
}

// Calls visit(x, y, z) for each cell along the segment, in order, also outside the grid's range.
template <class Visit>
OVOXEL_HD inline void walkSegment(const GridSpec& g, const Vec3& from, const Vec3& to, Visit&& visit) {
    const Vec3 delta = to - from;
    const double length = std::sqrt(dot(delta, delta));
    if (!(length >= 1e-6)) return;
    int64_t cell[3], step[3];
    double next[3], stride[3];
    for (int a = 0; a < 3; ++a) {
        const double d = delta[a] / length;
        cell[a] = floorIndex(from[a] / g.size[a]);
        step[a] = d > 0 ? 1 : -1;
        const double border = static_cast<double>(cell[a] + (d > 0 ? 1 : 0)) * g.size[a];
        next[a] = d == 0 ? HUGE_VAL : (border - from[a]) / d;
        stride[a] = d == 0 ? HUGE_VAL : g.size[a] / std::fabs(d);
    }
    for (;;) {
        visit(cell[0], cell[1], cell[2]);
        int a;  // ties: z over y over x
        if (next[0] < next[1])
            a = next[0] < next[2] ? 0 : 2;
        else
            a = next[1] < next[2] ? 1 : 2;
        if (next[a] > length) return;
        cell[a] += step[a];
        next[a] += stride[a];
    }
}

// Calls emit(cell) for each cell of the grid along a boundary edge.
template <class Emit>
OVOXEL_HD inline void walkBoundaryEdge(const GridSpec& g, Vec3 from, Vec3 to, Emit&& emit) {
    if (!clipSegment(g, from, to)) return;
    const CellBox grid = wholeGrid(g);
    walkSegment(g, from, to, [&](int64_t x, int64_t y, int64_t z) {
        if (!grid.contains(x, y, z)) return;
        const int32_t cell[3] = {static_cast<int32_t>(x), static_cast<int32_t>(y), static_cast<int32_t>(z)};
        emit(cell);
    });
}

}  // namespace ovoxel
