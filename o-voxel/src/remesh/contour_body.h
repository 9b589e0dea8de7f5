// Manifold dual contouring of a set of inside nodes: host and device bodies.
#pragma once

#include <cmath>

#include "remesh/cases.h"
#include "remesh/crossings_body.h"

namespace ovoxel::remesh {

// Cells with inside and outside corners, or grid edges with one inside end along one axis: as bits of the low node.
struct ActiveCellsBody {
    NodeGrid grid;
    const Word* inside;
    Word* out;
    OVOXEL_HD void operator()(int64_t word) const {
        const WordAt at(grid, word);
        Word any = 0, all = ~Word{0};
        for (int c = 0; c < 4; ++c) {
            const int64_t x = at.x + (c >> 1), y = at.y + (c & 1);
            const Word low = wordOr0(grid, inside, x, y, at.z), high = above(grid, inside, x, y, at.z);
            any |= low | high;
            all &= low & high;
        }
        Word bits = any & ~all & grid.valid(at.z);
        if (at.x == grid.size[0] - 1 || at.y == grid.size[1] - 1) bits = 0;
        if (at.z == grid.column() - 1) bits &= ~(Word{1} << ((grid.size[2] - 1) & 63));
        out[word] = bits;
    }
};

struct ActiveEdgesBody {
    NodeGrid grid;
    const Word* inside;
    Word* out;  // [3, words]
    OVOXEL_HD void operator()(int64_t i) const {
        const int64_t words = grid.words(), word = i % words;
        const int axis = static_cast<int>(i / words);
        const WordAt at(grid, word);
        const Word own = inside[word];
        Word other;
        if (axis == 2)
            other = above(grid, inside, at.x, at.y, at.z);
        else
            other = wordOr0(grid, inside, at.x + (axis == 0), at.y + (axis == 1), at.z);
        Word bits = (own ^ other) & grid.valid(at.z);
        if (at.x == grid.size[0] - 1 && axis == 0) bits = 0;
        if (at.y == grid.size[1] - 1 && axis == 1) bits = 0;
        if (at.z == grid.column() - 1 && axis == 2) bits &= ~(Word{1} << ((grid.size[2] - 1) & 63));
        out[i] = bits;
    }
};

// Writes the places (64 * word + bit) of the members of a bit set, ascending.
struct ListBitsBody {
    const Word* bits;
    const int32_t* before;
    int64_t* out;
    OVOXEL_HD void operator()(int64_t word) const {
        int64_t at = before[word];
        for (Word rest = bits[word]; rest; rest &= rest - 1) out[at++] = 64 * word + lowestBit(rest);
    }
};

struct Place {
    int64_t node[3];
    OVOXEL_HD Place(const NodeGrid& grid, int64_t place) {
        const WordAt at(grid, place >> 6);
        node[0] = at.x;
        node[1] = at.y;
        node[2] = 64 * at.z + (place & 63);
    }
};

OVOXEL_HD inline int caseOf(const NodeGrid& grid, const Word* inside, int64_t x, int64_t y, int64_t z) {
    int bits = 0;
    for (int c = 0; c < 8; ++c)
        bits |= static_cast<int>(grid.test(inside, x + (c >> 2), y + (c >> 1 & 1), z + (c & 1))) << c;
    return bits;
}

struct CellSheetsBody {
    NodeGrid grid;
    const Word* inside;
    const CaseTable* table;
    const int64_t* places;  // [C]
    Word* sheets;           // [C]
    int32_t* counts;        // [C]
    OVOXEL_HD void operator()(int64_t i) const {
        const Place at(grid, places[i]);
        const int own = caseOf(grid, inside, at.node[0], at.node[1], at.node[2]), face = table->twice[own];
        CellSheets result = table->sheets[own];
        if (face >= 0) {
            int64_t n[3] = {at.node[0], at.node[1], at.node[2]};
            const int axis = face / 2, side = face % 2;
            n[axis] += side ? 1 : -1;
            if (n[axis] >= 0 && n[axis] + 1 < grid.size[axis] &&
                table->twice[caseOf(grid, inside, n[0], n[1], n[2])] == (face ^ 1))
                result = table->cut[own];
        }
        sheets[i] = result;
        counts[i] = sheetCount(result);
    }
};

struct Cells {
    NodeGrid grid;
    const Word* bits;         // [words]
    const int32_t* before;    // [words]
    const Word* sheets;       // [C]
    const int64_t* firstVertex;  // [C] number of the cell's first vertex
};

enum VertexKind : uint8_t { kOnSurface = 0, kOnSheet = 1, kFree = 2 };

// Least squares of distances to planes, drawn slightly towards the mean of the points.
struct PlaneFit {
    double a[6] = {}, b[3] = {}, mean[3] = {}, d2 = 0;
    int planes = 0, points = 0;

    OVOXEL_HD void addPoint(const double* p) {
        for (int k = 0; k < 3; ++k) mean[k] += p[k];
        ++points;
    }
    OVOXEL_HD void addPlane(const double* n, const double* p, const double* origin) {
        const double d = n[0] * (p[0] - origin[0]) + n[1] * (p[1] - origin[1]) + n[2] * (p[2] - origin[2]);
        a[0] += n[0] * n[0];
        a[1] += n[0] * n[1];
        a[2] += n[0] * n[2];
        a[3] += n[1] * n[1];
        a[4] += n[1] * n[2];
        a[5] += n[2] * n[2];
        for (int k = 0; k < 3; ++k) b[k] += d * n[k];
        ++planes;
    }
    // The minimum; `origin` is the one given to addPlane.
    OVOXEL_HD void solve(const double* origin, double pull, double* out) const {
        double m[3];
        for (int k = 0; k < 3; ++k) m[k] = mean[k] / points - origin[k];
        const double w = pull * planes;
        const double xx = a[0] + w, xy = a[1], xz = a[2], yy = a[3] + w, yz = a[4], zz = a[5] + w;
        const double r[3] = {b[0] + w * m[0], b[1] + w * m[1], b[2] + w * m[2]};
        const double cx = yy * zz - yz * yz, cy = xz * yz - xy * zz, cz = xy * yz - xz * yy;
        const double det = xx * cx + xy * cy + xz * cz;
        if (planes == 0 || !(det > 0)) {
            for (int k = 0; k < 3; ++k) out[k] = origin[k] + m[k];
            return;
        }
        out[0] = origin[0] + (cx * r[0] + cy * r[1] + cz * r[2]) / det;
        out[1] = origin[1] + (cy * r[0] + (xx * zz - xz * xz) * r[1] + (xy * xz - xx * yz) * r[2]) / det;
        out[2] = origin[2] + (cz * r[0] + (xy * xz - xx * yz) * r[1] + (xx * yy - xy * xy) * r[2]) / det;
    }
};

struct ContourOptions {
    double thickness;  // of the plates that open sheets become, voxels
    double pull;       // strength of the pull towards the mean of the points
    double margin;     // vertices on the surface keep this distance from the sides of their cell, voxels
};

// Places the vertices of a cell: one for each sheet that passes it.
struct CellVerticesBody {
    Triangles mesh;
    Crossings crossings;
    Cells cells;
    const Word* inside;
    const Word* sheetNodes;  // [words]: nodes added beside open sheets, or null
    ContourOptions options;
    const int64_t* places;
    double* vertices;  // [N, 3]
    uint8_t* kinds;    // [N]

    OVOXEL_HD void normalOf(int64_t face, double* n) const {
        const double *p0 = mesh.corner(face, 0), *p1 = mesh.corner(face, 1), *p2 = mesh.corner(face, 2);
        double e[3], f[3];
        for (int k = 0; k < 3; ++k) {
            e[k] = p1[k] - p0[k];
            f[k] = p2[k] - p0[k];
        }
        n[0] = e[1] * f[2] - e[2] * f[1];
        n[1] = e[2] * f[0] - e[0] * f[2];
        n[2] = e[0] * f[1] - e[1] * f[0];
        const double length = sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]);
        for (int k = 0; k < 3; ++k) n[k] = length > 0 ? n[k] / length : 0;
    }

    // Planes beside the sheets around a node `a`, for an edge from there with the given middle. Counts those that were
    // found, and among them those of open sheets.
    OVOXEL_HD int addSheet(PlaneFit& fit, const int64_t* a, const double* middle, const double* origin,
                           int& single) const {
        double sum[3] = {};
        int count = 0;
        for (int axis = 0; axis < 3; ++axis)
            for (int side = 0; side < 2; ++side) {
                int64_t low[3] = {a[0], a[1], a[2]}, other[3] = {a[0], a[1], a[2]};
                if (side) --low[axis];
                other[axis] += side ? -1 : 1;
                if (!cells.grid.holds(other[0], other[1], other[2])) continue;
                if (!crossings.test(cells.grid, low, axis)) continue;
                if (!cells.grid.test(sheetNodes, other[0], other[1], other[2])) continue;
                const int64_t edge = crossings.index(cells.grid, low, axis);
                const Word packed = side ? crossings.last[edge] : crossings.first[edge];
                double p[3] = {static_cast<double>(low[0]), static_cast<double>(low[1]), static_cast<double>(low[2])};
                p[axis] += crossingT(packed);
                double n[3];
                normalOf(crossingFace(packed), n);
                const double sign = (n[axis] > 0) == (side == 1) ? 1 : -1;  // towards a
                // Two walls stay where they are; a single one is left on both sides by half the thickness.
                const bool alone = crossings.first[edge] == crossings.last[edge];
                double beside[3], gap = alone ? -options.thickness / 2 : 0;
                single += alone;
                for (int k = 0; k < 3; ++k) {
                    n[k] *= sign;
                    gap += n[k] * (middle[k] - p[k]);
                }
                for (int k = 0; k < 3; ++k) {
                    beside[k] = middle[k] - gap * n[k];
                    sum[k] += beside[k];
                }
                fit.addPlane(n, beside, origin);
                ++count;
            }
        if (count == 0) return 0;
        for (int k = 0; k < 3; ++k) sum[k] /= count;
        fit.addPoint(sum);
        return count;
    }

    OVOXEL_HD void operator()(int64_t i) const {
        const Place cell(cells.grid, places[i]);
        const CellSheets sheets = cells.sheets[i];
        const int count = sheetCount(sheets);
        double origin[3];
        for (int k = 0; k < 3; ++k) origin[k] = static_cast<double>(cell.node[k]) + 0.5;
        for (int s = 0; s < count; ++s) {
            PlaneFit fit;
            int beside = 0, single = 0;
            for (int e = 0; e < 12; ++e) {
                if (sheetOf(sheets, e) != s) continue;
                const int axis = e / 4, u = (axis + 1) % 3, w = (axis + 2) % 3;
                int64_t low[3] = {cell.node[0], cell.node[1], cell.node[2]};
                low[u] += e >> 1 & 1;
                low[w] += e & 1;
                const bool lowInside = cells.grid.test(inside, low[0], low[1], low[2]);
                double p[3] = {static_cast<double>(low[0]), static_cast<double>(low[1]), static_cast<double>(low[2])};
                if (crossings.test(cells.grid, low, axis)) {
                    const int64_t edge = crossings.index(cells.grid, low, axis);
                    const Word packed = lowInside ? crossings.last[edge] : crossings.first[edge];
                    p[axis] += crossingT(packed);
                    double n[3];
                    normalOf(crossingFace(packed), n);
                    fit.addPoint(p);
                    fit.addPlane(n, p, origin);
                    continue;
                }
                int64_t a[3] = {low[0], low[1], low[2]};
                if (!lowInside) ++a[axis];
                p[axis] += 0.5;
                int found = 0;
                if (sheetNodes && cells.grid.test(sheetNodes, a[0], a[1], a[2]))
                    found = addSheet(fit, a, p, origin, single);
                if (found == 0) fit.addPoint(p);
                beside += found;
            }
            const int64_t row = cells.firstVertex[i] + s;
            double* out = vertices + 3 * row;
            fit.solve(origin, options.pull, out);
            const double reach = beside ? 1.5 : 0.5 - options.margin;
            for (int k = 0; k < 3; ++k) out[k] = fmin(fmax(out[k], origin[k] - reach), origin[k] + reach);
            kinds[row] = single ? kOnSheet : fit.planes ? kOnSurface : kFree;
        }
    }
};

// Two triangles around every active edge, seen from outside counter-clockwise, along the flatter diagonal.
struct QuadsBody {
    Cells cells;
    const Word* inside;
    const Word* edges;      // [3, words]
    const int32_t* before;  // [3 * words]
    const double* vertices;
    int32_t* faces;  // [2 Q, 3]

    OVOXEL_HD double flatness(const int32_t* t) const {
        double n[2][3], length[2];
        for (int k = 0; k < 2; ++k) {
            const double *p = vertices + 3 * int64_t{t[3 * k]}, *q = vertices + 3 * int64_t{t[3 * k + 1]},
                         *r = vertices + 3 * int64_t{t[3 * k + 2]};
            const double ex = q[0] - p[0], ey = q[1] - p[1], ez = q[2] - p[2];
            const double fx = r[0] - p[0], fy = r[1] - p[1], fz = r[2] - p[2];
            n[k][0] = ey * fz - ez * fy;
            n[k][1] = ez * fx - ex * fz;
            n[k][2] = ex * fy - ey * fx;
            length[k] = sqrt(n[k][0] * n[k][0] + n[k][1] * n[k][1] + n[k][2] * n[k][2]);
        }
        if (!(length[0] > 1e-9) || !(length[1] > 1e-9)) return -2;
        return (n[0][0] * n[1][0] + n[0][1] * n[1][1] + n[0][2] * n[1][2]) / (length[0] * length[1]);
    }

    OVOXEL_HD void operator()(int64_t i) const {
        const NodeGrid& grid = cells.grid;
        const int64_t words = grid.words(), word = i % words;
        const int axis = static_cast<int>(i / words), u = (axis + 1) % 3, w = (axis + 2) % 3;
        int64_t quad = before[i];
        for (Word rest = edges[i]; rest; rest &= rest - 1, ++quad) {
            const Place at(grid, 64 * word + lowestBit(rest));
            const int around[4][2] = {{1, 1}, {0, 1}, {0, 0}, {1, 0}};  // steps down along u and w
            int32_t q[4];
            for (int c = 0; c < 4; ++c) {
                int64_t n[3] = {at.node[0], at.node[1], at.node[2]};
                n[u] -= around[c][0];
                n[w] -= around[c][1];
                const int64_t row =
                    rankOf(cells.bits, cells.before, grid.word(n[0], n[1], n[2]), static_cast<int>(n[2] & 63));
                q[c] = static_cast<int32_t>(cells.firstVertex[row] +
                                            sheetOf(cells.sheets[row], 4 * axis + 2 * around[c][0] + around[c][1]));
            }
            if (!grid.test(inside, at.node[0], at.node[1], at.node[2])) {
                const int32_t swap = q[1];
                q[1] = q[3];
                q[3] = swap;
            }
            const int32_t one[6] = {q[0], q[1], q[2], q[0], q[2], q[3]}, two[6] = {q[0], q[1], q[3], q[3], q[1], q[2]};
            const int32_t* best = flatness(two) > flatness(one) + 1e-9 ? two : one;
            for (int k = 0; k < 6; ++k) faces[6 * quad + k] = best[k];
        }
    }
};

}  // namespace ovoxel::remesh
