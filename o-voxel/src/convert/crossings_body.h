// Crossings of one triangle with the grid lines: the only place that decides which voxels a surface has.
#pragma once

#include "convert/grid_body.h"

namespace ovoxel {

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

// A triangle in the units of the scan: grid units plus the tie shift or, published, mesh units.
OVOXEL_HD inline Triangle scanTriangle(const GridSpec& g, const Triangle& tri) {
    if (g.published) return tri;
    Triangle s;
    for (int i = 0; i < 3; ++i)
        for (int a = 0; a < 3; ++a) s.p[i][a] = tri.p[i][a] / g.size[a] + tieShift(a);
    return s;
}

// A triangle seen along the grid lines of one axis a; u = a + 1 and w = a + 2. It is cut by the planes
// w = first ... last, each of which it meets in a segment.
struct AxisScan {
    ProjectedPoint t[3];  // ascending w
    int64_t first, last;
    int64_t middle;  // published: last plane of the half at t[0]
};

OVOXEL_HD inline AxisScan scanAxis(const GridSpec& g, const Triangle& s, int a) {
    const int u = (a + 1) % 3, w = (a + 2) % 3;
    AxisScan scan;
    for (int i = 0; i < 3; ++i) scan.t[i] = {s.p[i][u], s.p[i][w], s.p[i][a]};
    sortByW(scan.t);
    const int64_t top = g.count[w] - 1;
    if (g.published) {
        scan.first = clampFloor(scan.t[0].w / g.size[w], 0, top) + 1;
        scan.middle = clampFloor(scan.t[1].w / g.size[w], 0, top);
        scan.last = clampFloor(scan.t[2].w / g.size[w], 0, top);
    } else {
        scan.first = clampFloor(scan.t[0].w, 0, top) + 1;
        scan.last = clampFloor(scan.t[2].w, 0, top);
        scan.middle = scan.last;
    }
    return scan;
}

// Segment of the triangle in one scan plane, from A to B with uA <= uB; it is crossed by the lines u = first ... last.
struct ScanLine {
    double uA, aA, uB, aB;
    int64_t first, last;
};

OVOXEL_HD inline void orderByU(ScanLine& line) {
    if (!(line.uB < line.uA)) return;
    double swap = line.uA;
    line.uA = line.uB, line.uB = swap;
    swap = line.aA;
    line.aA = line.aB, line.aB = swap;
}

// Correct mode: grid units, exact tie rule, every edge evaluated from its lower end, so that two triangles that share
// an edge agree to the last bit on where it meets a scan plane.
OVOXEL_HD inline ScanLine scanLineExact(const GridSpec& g, const AxisScan& scan, int a, int64_t row) {
    const ProjectedPoint* t = scan.t;
    const double plane = static_cast<double>(row);
    const bool lower = plane <= t[1].w;
    const ProjectedPoint& lo = lower ? t[0] : t[1];
    const ProjectedPoint& hi = lower ? t[1] : t[2];
    const double f = (plane - lo.w) / (hi.w - lo.w), h = (plane - t[0].w) / (t[2].w - t[0].w);
    ScanLine line;
    line.uA = lo.u + f * (hi.u - lo.u), line.aA = lo.a + f * (hi.a - lo.a);
    line.uB = t[0].u + h * (t[2].u - t[0].u), line.aB = t[0].a + h * (t[2].a - t[0].a);
    orderByU(line);
    const int64_t right = g.count[(a + 1) % 3] - 1;
    line.first = clampFloor(line.uA, 0, right) + 1;
    line.last = clampFloor(line.uB, 0, right);
    return line;
}

// The same with the published arithmetic (mesh units, truncation, edges evaluated from the apex of each half).
OVOXEL_HD inline ScanLine scanLinePublished(const GridSpec& g, const AxisScan& scan, int a, int64_t row) {
    const int u = (a + 1) % 3, w = (a + 2) % 3;
    const bool upper = row > scan.middle;
    const ProjectedPoint& apex = upper ? scan.t[2] : scan.t[0];
    const ProjectedPoint& far = upper ? scan.t[0] : scan.t[2];
    const double plane = static_cast<float>(row) * static_cast<float>(g.size[w]);
    const double f = apex.w == scan.t[1].w ? 0.0 : (plane - apex.w) / (scan.t[1].w - apex.w);
    const double h = apex.w == far.w ? 0.0 : (plane - apex.w) / (far.w - apex.w);
    ScanLine line;
    line.uA = (1 - f) * apex.u + f * scan.t[1].u, line.aA = (1 - f) * apex.a + f * scan.t[1].a;
    line.uB = (1 - h) * apex.u + h * far.u, line.aB = (1 - h) * apex.a + h * far.a;
    orderByU(line);
    const int64_t right = g.count[u] - 1;
    line.first = clampFloor(line.uA / g.size[u], 0, right) + 1;
    line.last = clampFloor(line.uB / g.size[u], 0, right);
    return line;
}

OVOXEL_HD inline ScanLine scanLine(const GridSpec& g, const AxisScan& scan, int a, int64_t row) {
    return g.published ? scanLinePublished(g, scan, a, row) : scanLineExact(g, scan, a, row);
}

// Where the grid line `column` of a scan plane crosses the segment: the cell along a and the place in it, in voxels
// [0, 1]. False if that is outside the grid.
OVOXEL_HD inline bool crossLine(const GridSpec& g, const ScanLine& line, int a, int64_t column, int64_t& cell,
                                float& place) {
    if (g.published) {
        const int u = (a + 1) % 3;
        const double x = static_cast<float>(column) * static_cast<float>(g.size[u]);
        const double f = line.uA == line.uB ? 0.0 : (x - line.uA) / (line.uB - line.uA);
        const double at = (1 - f) * line.aA + f * line.aB;
        const double k = std::trunc(at / g.size[a]);
        if (!(k >= 0 && k < static_cast<double>(g.count[a]))) return false;
        cell = static_cast<int64_t>(k);
        place = static_cast<float>(at / g.size[a] - k);
        return true;
    }
    const double low = line.aA < line.aB ? line.aA : line.aB, high = line.aA < line.aB ? line.aB : line.aA;
    double at = line.aA + (static_cast<double>(column) - line.uA) / (line.uB - line.uA) * (line.aB - line.aA);
    at = at < low ? low : at > high ? high : at;
    if (!(at >= -kOutsideTolerance && at <= static_cast<double>(g.count[a]) + kOutsideTolerance)) return false;
    cell = clampFloor(at, 0, g.count[a] - 1);
    const double local = at - tieShift(a) - static_cast<double>(cell);
    place = static_cast<float>(local < 0 ? 0 : local > 1 ? 1 : local);
    return true;
}

// Calls emit(axis, row, column, cell, place) for every crossing of the triangle next to a cell of `box`: axes x, y, z
// in turn, ascending rows, ascending columns. The crossed edge runs along `axis` through `cell` at u = column and
// w = row, so the cells around it have u in {column - 1, column} and w in {row - 1, row}.
template <class Emit>
OVOXEL_HD inline void forEachCrossing(const GridSpec& g, const Triangle& tri, const CellBox& box, Emit&& emit) {
    const Triangle s = scanTriangle(g, tri);
    for (int a = 0; a < 3; ++a) {
        const int u = (a + 1) % 3, w = (a + 2) % 3;
        const AxisScan scan = scanAxis(g, s, a);
        const int64_t rowBegin = scan.first > box.lo[w] ? scan.first : box.lo[w];
        const int64_t rowEnd = scan.last < box.hi[w] ? scan.last : box.hi[w];
        for (int64_t row = rowBegin; row <= rowEnd; ++row) {
            const ScanLine line = scanLine(g, scan, a, row);
            const int64_t begin = line.first > box.lo[u] ? line.first : box.lo[u];
            const int64_t end = line.last < box.hi[u] ? line.last : box.hi[u];
            for (int64_t column = begin; column <= end; ++column) {
                int64_t cell;
                float place;
                if (!crossLine(g, line, a, column, cell, place) || cell < box.lo[a] || cell >= box.hi[a]) continue;
                emit(a, row, column, cell, place);
            }
        }
    }
}

// Cell number `corner` (0 ... 3 = 2 du + dw) around the edge crossed at (row, column, cell) of an axis.
OVOXEL_HD inline void cellAround(int axis, int64_t row, int64_t column, int64_t cell, int corner, int32_t out[3]) {
    out[axis] = static_cast<int32_t>(cell);
    out[(axis + 1) % 3] = static_cast<int32_t>(column - 1 + (corner >> 1));
    out[(axis + 2) % 3] = static_cast<int32_t>(row - 1 + (corner & 1));
}

}  // namespace ovoxel
