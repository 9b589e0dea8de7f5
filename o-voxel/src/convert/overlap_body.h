// Which voxels a triangle overlaps: separating-axis test in the form of Schwarz and Seidel,
// "Fast Parallel Surface and Solid Voxelization on GPUs" (2010). Touching counts as overlap.
#pragma once

#include "convert/grid_body.h"

namespace ovoxel {

// The test set up for one triangle. T is float to decide touching cases as the published code does, else double.
template <class T>
struct OverlapTest {
    T n[3], d1, d2;
    T m[3][3][2], d[3][3];  // [projection][edge]
    T size[3];
    int64_t lo[3], hi[3];  // candidate cells, half-open
    bool valid;

    OVOXEL_HD OverlapTest(const GridSpec& g, const Triangle& tri) {
        T v[3][3], e[3][3];
        for (int i = 0; i < 3; ++i)
            for (int a = 0; a < 3; ++a) v[i][a] = static_cast<T>(tri.p[i][a]);
        for (int i = 0; i < 3; ++i)
            for (int a = 0; a < 3; ++a) e[i][a] = v[(i + 1) % 3][a] - v[i][a];
        for (int a = 0; a < 3; ++a) size[a] = static_cast<T>(g.size[a]);
        for (int a = 0; a < 3; ++a) {
            const int b = (a + 1) % 3, c = (a + 2) % 3;
            n[a] = e[0][b] * e[1][c] - e[0][c] * e[1][b];
        }
        const T length = std::sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]);
        valid = length > 0;
        if (!valid) return;
        for (int a = 0; a < 3; ++a) n[a] /= length;
        d1 = 0, d2 = 0;
        for (int a = 0; a < 3; ++a) {
            const T c = n[a] > 0 ? size[a] : T(0);
            d1 += n[a] * (c - v[0][a]);
            d2 += n[a] * (size[a] - c - v[0][a]);
        }
        for (int proj = 0; proj < 3; ++proj) {
            const int i = proj, j = (proj + 1) % 3, k = (proj + 2) % 3;
            const T sign = n[k] < 0 ? T(-1) : T(1);
            for (int s = 0; s < 3; ++s) {
                const T mi = -e[s][j] * sign, mj = e[s][i] * sign;
                m[proj][s][0] = mi;
                m[proj][s][1] = mj;
                d[proj][s] = -(mi * v[s][i] + mj * v[s][j]) + (mi > 0 ? mi : T(0)) * size[i] +
                             (mj > 0 ? mj : T(0)) * size[j];
            }
        }
        for (int a = 0; a < 3; ++a) {
            T mn = v[0][a], mx = v[0][a];
            for (int i = 1; i < 3; ++i) {
                mn = v[i][a] < mn ? v[i][a] : mn;
                mx = v[i][a] > mx ? v[i][a] : mx;
            }
            lo[a] = clampFloor(mn / size[a], 0, g.count[a]);
            hi[a] = clampFloor(mx / size[a] + T(1), 0, g.count[a]);
        }
    }

    OVOXEL_HD bool operator()(int64_t x, int64_t y, int64_t z) const {
        const T p[3] = {static_cast<T>(x) * size[0], static_cast<T>(y) * size[1], static_cast<T>(z) * size[2]};
        const T at = n[0] * p[0] + n[1] * p[1] + n[2] * p[2];
        if ((at + d1) * (at + d2) > 0) return false;
        for (int proj = 0; proj < 3; ++proj) {
            const int i = proj, j = (proj + 1) % 3;
            for (int s = 0; s < 3; ++s)
                if (m[proj][s][0] * p[i] + m[proj][s][1] * p[j] + d[proj][s] < 0) return false;
        }
        return true;
    }

    // Axis of the largest normal component: cells are visited in columns along it.
    OVOXEL_HD int mainAxis() const {
        int k = 0;
        for (int a = 1; a < 3; ++a)
            if (std::fabs(n[a]) > std::fabs(n[k])) k = a;
        return k;
    }

    // Calls emit(x, y, z) for each overlapped cell of `box` in row `ci` of axis (k + 1) % 3, k the main axis. Of the
    // row only columns near the projected triangle, and of a column only the slab of cells that the plane passes, are
    // tested, so triangles cost their area, not their box. The narrowing leaves a cell of slack on each side.
    template <class Emit>
    OVOXEL_HD void forRow(int k, int64_t ci, const CellBox& box, Emit&& emit) const {
        const int i = (k + 1) % 3, j = (k + 2) % 3;
        const double pi = static_cast<double>(ci) * static_cast<double>(size[i]);
        int64_t begin = lo[j] > box.lo[j] ? lo[j] : box.lo[j], end = hi[j] < box.hi[j] ? hi[j] : box.hi[j];
        if (sizeof(T) == sizeof(double) && end - begin > 3) {  // in short rows the tests cost less
            for (int s = 0; s < 3; ++s) {
                const double mi = m[i][s][0], mj = m[i][s][1];
                if (!(std::fabs(mj) > 1e-6 * std::fabs(mi))) continue;  // too steep for the slack to cover rounding
                const double border = -(mi * pi + d[i][s]) / (mj * size[j]);
                if (mj > 0) {
                    const int64_t low = clampFloor(border - 1, begin, end);
                    begin = low > begin ? low : begin;
                } else {
                    const int64_t high = clampFloor(border + 2, begin, end);
                    end = high < end ? high : end;
                }
            }
        }
        // n.p + d in [min(d1, d2), max(d1, d2)] must contain 0: solve for the range of p_k.
        const double scale = -1 / (static_cast<double>(n[k]) * static_cast<double>(size[k]));
        for (int64_t cj = begin; cj < end; ++cj) {
            const double rest = static_cast<double>(n[i]) * pi +
                                static_cast<double>(n[j]) * (static_cast<double>(cj) * static_cast<double>(size[j]));
            const double a = (rest + d1) * scale, b = (rest + d2) * scale;
            const int64_t first = clampFloor((a < b ? a : b) - 1.0, lo[k], hi[k]);
            const int64_t last = clampFloor((a < b ? b : a) + 2.0, lo[k], hi[k]);
            int64_t c[3];
            c[i] = ci, c[j] = cj;
            const int64_t top = last < box.hi[k] ? last : box.hi[k];
            for (c[k] = first > box.lo[k] ? first : box.lo[k]; c[k] < top; ++c[k])
                if ((*this)(c[0], c[1], c[2])) emit(c[0], c[1], c[2]);
        }
    }

    // Calls emit(x, y, z) for each overlapped cell of `box`.
    template <class Emit>
    OVOXEL_HD void forEach(const CellBox& box, Emit&& emit) const {
        if (!valid) return;
        const int k = mainAxis(), i = (k + 1) % 3;
        const int64_t end = hi[i] < box.hi[i] ? hi[i] : box.hi[i];
        for (int64_t ci = lo[i] > box.lo[i] ? lo[i] : box.lo[i]; ci < end; ++ci) forRow(k, ci, box, emit);
    }
};

}  // namespace ovoxel
