// Where triangles cross the edges of a node grid: host and device bodies.
//
// A grid line goes through a triangle where its point lies inside the projected triangle. Sides of an edge are decided
// in one order of its two vertices, so neighbours agree bit for bit and a line through their common edge meets exactly
// one of them.
#pragma once

#include <cmath>
#include <cstring>

#include "common/atomics.h"
#include "remesh/node_grid.h"

namespace ovoxel::remesh {

struct Triangles {
    const double* vertices;  // [V, 3], nodes at integers
    const int32_t* faces;    // [F, 3]
    int64_t count;

    OVOXEL_HD const double* corner(int64_t face, int k) const { return vertices + 3 * int64_t{faces[3 * face + k]}; }
};

// Twice the area of (a, b, p) in the plane of axes u and w; p on the line counts as slightly greater in u, then in w.
OVOXEL_HD inline double sideOf(const double* a, const double* b, bool swapped, int u, int w, double pu, double pw) {
    if (swapped) {
        const double* c = a;
        a = b;
        b = c;
    }
    const double du = b[u] - a[u], dw = b[w] - a[w];
    double side = du * (pw - a[w]) - dw * (pu - a[u]);
    if (side == 0) side = (dw != 0 ? -dw : du) * 1e-300;
    return swapped ? -side : side;
}

// Where the row at `at` of axis `across` goes through the projected triangle: from low to high of axis `along`.
struct RowSpan {
    double low, high;
};
OVOXEL_HD inline RowSpan rowSpan(const double* const corners[3], int across, int along, double at) {
    RowSpan span{HUGE_VAL, -HUGE_VAL};
    for (int k = 0; k < 3; ++k) {
        const double *a = corners[k], *b = corners[(k + 1) % 3];
        if ((a[across] < at && b[across] < at) || (a[across] > at && b[across] > at)) continue;
        const double length = b[across] - a[across];
        const double place = a[along] + (length != 0 ? (at - a[across]) / length : 0) * (b[along] - a[along]);
        span.low = fmin(span.low, place);
        span.high = fmax(span.high, place);
    }
    return span;
}

// A longer row is cut to its span and one line more to either side: while coordinates are below the limit, rounding
// moves neither the span nor the sides of the triangle that far.
constexpr int64_t kLongRow = 16;
constexpr double kSpanLimit = 1e9;

// visit(start node, t in [0, 1) along the edge) for each edge of the grid along `axis` that the face crosses.
template <class Visit>
OVOXEL_HD void forCrossings(const Triangles& mesh, const NodeGrid& grid, int64_t face, int axis, Visit&& visit) {
    const int u = axis == 2 ? 0 : axis + 1, w = axis == 0 ? 2 : axis - 1;
    const int across = u < w ? u : w, along = u < w ? w : u;  // in the order of memory
    const int32_t* f = mesh.faces + 3 * face;
    const double* const p[3] = {mesh.corner(face, 0), mesh.corner(face, 1), mesh.corner(face, 2)};
    const double end = static_cast<double>(grid.size[axis]);
    double low[3], high[3];
    int64_t first[3], last[3];
    for (const int k : {across, along}) {
        const double edge = static_cast<double>(grid.size[k] - 1);
        low[k] = fmin(p[0][k], fmin(p[1][k], p[2][k]));
        high[k] = fmax(p[0][k], fmax(p[1][k], p[2][k]));
        if (!(low[k] <= edge && high[k] >= 0)) return;
        first[k] = static_cast<int64_t>(ceil(fmax(low[k], 0.0)));
        last[k] = static_cast<int64_t>(fmin(high[k], edge));
    }
    const bool cut = last[along] - first[along] >= kLongRow && low[across] > -kSpanLimit && low[along] > -kSpanLimit &&
                     high[across] < kSpanLimit && high[along] < kSpanLimit;
    int64_t node[3];
    double at[3];
    for (int64_t row = first[across]; row <= last[across]; ++row) {
        at[across] = static_cast<double>(row);
        int64_t begin = first[along], stop = last[along];
        if (cut) {
            const RowSpan span = rowSpan(p, across, along, at[across]);
            begin = static_cast<int64_t>(fmax(static_cast<double>(begin), ceil(span.low) - 1));
            stop = static_cast<int64_t>(fmin(static_cast<double>(stop), floor(span.high) + 1));
        }
        for (int64_t line = begin; line <= stop; ++line) {
            at[along] = static_cast<double>(line);
            const double s0 = sideOf(p[1], p[2], f[1] > f[2], u, w, at[u], at[w]);
            const double s1 = sideOf(p[2], p[0], f[2] > f[0], u, w, at[u], at[w]);
            if ((s0 > 0) != (s1 > 0)) continue;
            const double s2 = sideOf(p[0], p[1], f[0] > f[1], u, w, at[u], at[w]);
            if ((s0 > 0) != (s2 > 0) || s0 == 0 || s1 == 0 || s2 == 0) continue;
            const double sum = s0 + s1 + s2;
            const double depth = s0 / sum * p[0][axis] + s1 / sum * p[1][axis] + s2 / sum * p[2][axis];
            if (!(depth >= 0 && depth < end)) continue;
            const double start = floor(depth);
            node[axis] = static_cast<int64_t>(start);
            node[across] = row;
            node[along] = line;
            visit(node, static_cast<float>(depth - start));
        }
    }
}

// Packed crossing: ascends by t, then by face.
OVOXEL_HD inline Word packCrossing(float t, int64_t face) {
    uint32_t bits;
    memcpy(&bits, &t, sizeof bits);
    return Word{bits} << 32 | static_cast<uint32_t>(face);
}
OVOXEL_HD inline float crossingT(Word packed) {
    const uint32_t bits = static_cast<uint32_t>(packed >> 32);
    float t;
    memcpy(&t, &bits, sizeof t);
    return t;
}
OVOXEL_HD inline int64_t crossingFace(Word packed) { return static_cast<int64_t>(packed & 0xffffffffu); }

// The grid edges that triangles cross, and the outermost crossings on each as seen from its two ends.
struct Crossings {
    const Word* bits;       // [3, words]: bit of the start node, by axis
    const int32_t* before;  // [3 * words] running count of bits
    const Word* first;      // [E] packed, smallest t
    const Word* last;       // [E] packed, largest t

    OVOXEL_HD bool test(const NodeGrid& grid, const int64_t* node, int axis) const {
        return grid.test(bits + axis * grid.words(), node[0], node[1], node[2]);
    }
    OVOXEL_HD int64_t index(const NodeGrid& grid, const int64_t* node, int axis) const {
        return rankOf(bits, before, axis * grid.words() + grid.word(node[0], node[1], node[2]),
                      static_cast<int>(node[2] & 63));
    }
};

struct MarkCrossingsBody {
    Triangles mesh;
    NodeGrid grid;
    Word* bits;  // [3, words], zero
    OVOXEL_HD void operator()(int64_t face) const {
        for (int axis = 0; axis < 3; ++axis)
            forCrossings(mesh, grid, face, axis, [&](const int64_t* n, float) {
                atomicSetBits(bits + axis * grid.words() + grid.word(n[0], n[1], n[2]), Word{1} << (n[2] & 63));
            });
    }
};

struct RecordCrossingsBody {
    Triangles mesh;
    NodeGrid grid;
    Crossings crossings;
    Word* first;  // all ones
    Word* last;   // zero
    OVOXEL_HD void operator()(int64_t face) const {
        for (int axis = 0; axis < 3; ++axis)
            forCrossings(mesh, grid, face, axis, [&](const int64_t* n, float t) {
                const int64_t edge = crossings.index(grid, n, axis);
                atomicMinimum(first + edge, packCrossing(t, face));
                atomicMaximum(last + edge, packCrossing(t, face));
            });
    }
};

// Crossed edges with crossings of two or more faces: the two walls of something thinner than a voxel.
struct DoubledBody {
    Crossings crossings;
    Word* out;  // [3, words]
    OVOXEL_HD void operator()(int64_t i) const {
        Word doubled = 0;
        int64_t edge = crossings.before[i];
        for (Word rest = crossings.bits[i]; rest; rest &= rest - 1, ++edge)
            if (crossingFace(crossings.first[edge]) != crossingFace(crossings.last[edge])) doubled |= rest & (~rest + 1);
        out[i] = doubled;
    }
};

// What a face borders on, counted over its crossings: [all, front towards outside, back towards outside, outside on both
// sides at once, outermost of several faces on an edge with both ends outside].
struct FaceSidesBody {
    Triangles mesh;
    NodeGrid grid;
    Crossings crossings;
    const Word* outside;
    int32_t* counts;  // [F, 5]
    OVOXEL_HD void operator()(int64_t face) const {
        const double *p0 = mesh.corner(face, 0), *p1 = mesh.corner(face, 1), *p2 = mesh.corner(face, 2);
        int32_t all = 0, front = 0, back = 0, both = 0, thin = 0;
        for (int axis = 0; axis < 3; ++axis) {
            const int u = axis == 2 ? 0 : axis + 1, w = axis == 0 ? 2 : axis - 1;
            const bool up = (p1[u] - p0[u]) * (p2[w] - p0[w]) - (p1[w] - p0[w]) * (p2[u] - p0[u]) > 0;
            forCrossings(mesh, grid, face, axis, [&](const int64_t* n, float t) {
                ++all;
                int64_t end[3] = {n[0], n[1], n[2]};
                ++end[axis];
                const bool lowOutside = grid.test(outside, n[0], n[1], n[2]);
                const bool highOutside = grid.holds(end[0], end[1], end[2]) && grid.test(outside, end[0], end[1], end[2]);
                if (!lowOutside && !highOutside) return;  // before the look-ups, which cost most
                const int64_t edge = crossings.index(grid, n, axis);
                const Word packed = packCrossing(t, face);
                const bool low = crossings.first[edge] == packed && lowOutside;
                const bool high = crossings.last[edge] == packed && highOutside;
                front += up ? high : low;
                back += up ? low : high;
                both += low && high;
                thin += low != high && lowOutside && highOutside;
            });
        }
        int32_t* out = counts + 5 * face;
        out[0] = all;
        out[1] = front;
        out[2] = back;
        out[3] = both;
        out[4] = thin;
    }
};

// Kinds of unknown (0) faces from the faces before and after, where they have an edge in common: the halves of a quad
// follow each other in most meshes. The higher one wins.
struct AskRowsBody {
    const int32_t* faces;
    const uint8_t* kinds;
    int64_t count;
    uint8_t* out;
    OVOXEL_HD void operator()(int64_t face) const {
        uint8_t best = kinds[face];
        if (best == 0)
            for (int64_t other = face - 1; other <= face + 1; other += 2) {
                if (other < 0 || other >= count || kinds[other] <= best) continue;
                int common = 0;
                for (int i = 0; i < 3; ++i)
                    for (int j = 0; j < 3; ++j) common += faces[3 * face + i] == faces[3 * other + j];
                if (common == 2) best = kinds[other];
            }
        out[face] = best;
    }
};

OVOXEL_HD inline Word mixBits(Word x) {  // G. Steele, D. Lea and C. Flood, 2014 (SplitMix64)
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

// Hashes of the two other corners, summed by exclusive or over the faces around a vertex: 0 where every edge has an even
// number of faces.
struct RimHashBody {
    const int32_t* faces;
    Word* hashes;  // [V], zero
    OVOXEL_HD void operator()(int64_t face) const {
        const int32_t* f = faces + 3 * face;
        const Word h[3] = {mixBits(f[0]), mixBits(f[1]), mixBits(f[2])};
        for (int k = 0; k < 3; ++k) atomicFlipBits(hashes + f[k], h[(k + 1) % 3] ^ h[(k + 2) % 3]);
    }
};

// Marks the corners of the cells that face sides between two rim vertices run through.
struct MarkRimsBody {
    Triangles mesh;
    const Word* hashes;
    NodeGrid grid;
    Word* bits;

    OVOXEL_HD void mark(const double* a, const double* b) const {
        double from = 0, to = 1, length = 0, widest = 0;  // the part in the grid
        for (int k = 0; k < 3; ++k) {
            const double d = b[k] - a[k], low = -1 - a[k], high = static_cast<double>(grid.size[k]) - a[k];
            if (d == 0 && (low > 0 || high < 0)) return;
            if (d != 0) {
                from = fmax(from, d > 0 ? low / d : high / d);
                to = fmin(to, d > 0 ? high / d : low / d);
            }
            length = fmax(length, fabs(d));
            widest = fmax(widest, static_cast<double>(grid.size[k]));
        }
        if (!(from <= to)) return;
        const double first = floor(from * 2 * length), last = ceil(to * 2 * length), steps = ceil(2 * length) + 1;
        // The part in the grid takes fewer; on sides so long that steps of one are lost in rounding there is no end else.
        const int64_t count = static_cast<int64_t>(fmin(last - first + 2, 4 * widest + 16));
        for (int64_t i = 0; i < count; ++i) {
            const double t = fmin((first + static_cast<double>(i)) / steps, 1.0);
            int64_t n[3];
            for (int k = 0; k < 3; ++k) {
                const double p = floor(a[k] + t * (b[k] - a[k]));
                n[k] = static_cast<int64_t>(fmin(fmax(p, -2.0), static_cast<double>(grid.size[k])));
            }
            for (int c = 0; c < 8; ++c) {
                const int64_t x = n[0] + (c >> 2), y = n[1] + (c >> 1 & 1), z = n[2] + (c & 1);
                if (grid.holds(x, y, z)) atomicSetBits(bits + grid.word(x, y, z), Word{1} << (z & 63));
            }
        }
    }

    OVOXEL_HD void operator()(int64_t face) const {
        const int32_t* f = mesh.faces + 3 * face;
        for (int k = 0; k < 3; ++k) {
            const int next = (k + 1) % 3;
            if (!hashes[f[k]] || !hashes[f[next]]) continue;
            const bool swap = f[k] > f[next];  // both faces of an edge mark the same cells
            mark(mesh.corner(face, swap ? next : k), mesh.corner(face, swap ? k : next));
        }
    }
};

}  // namespace ovoxel::remesh
