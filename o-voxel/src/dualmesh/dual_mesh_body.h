// Flexible dual grid -> mesh, per voxel and per quad; shared by CPU threads and CUDA.
// The sums are written out, one rounding each, so that every backend gives the same bits.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"
#include "common/voxel_table.h"

namespace ovoxel {

enum class Split : int32_t {
    kWeight,     // along q0-q2 where w0 w2 > w1 w3
    kFlatter,    // along the diagonal whose two triangles lie flatter: larger cosine between their normals
    kPublished,  // along q0-q2 unless q0 q1 q2 has no area
};

template <class T>
struct DualGridView {
    const int32_t* coords;  // [n, 3]
    const T* local;         // [n, 3] dual vertices, voxel-local
    const bool* flags;      // [n, 3]
    const T* weight;        // [n] or null
    int64_t n;
    T voxelSize[3], origin[3];  // world
    int32_t gridSize[3];
};

// Cells around a voxel that its quads use, numbered dx dy dz in binary; 7 is not used.
constexpr int kNumAround = 7;
// The four voxels around the edge that ends at the voxel's upper corner, per axis, in cyclic order.
OVOXEL_HD inline int quadCorner(int axis, int i) {
    constexpr uint32_t kCorners[3] = {0x2310, 0x1540, 0x4620};  // i-th hexadecimal digit
    return static_cast<int>(kCorners[axis] >> (4 * i) & 7u);
}

template <class T>
OVOXEL_HD inline bool insideGrid(const DualGridView<T>& grid, int64_t row) {
    const int32_t* c = grid.coords + 3 * row;
    return c[0] >= 0 && c[0] < grid.gridSize[0] && c[1] >= 0 && c[1] < grid.gridSize[1] && c[2] >= 0 &&
           c[2] < grid.gridSize[2];
}

// The table is filled once and read about once, so it is as small as it may be.
inline int64_t tableCapacity(int64_t n) { return VoxelTable::capacityFor(n, 2); }

template <class T>
inline VoxelTable tableOf(const DualGridView<T>& grid, VoxelTable::Slot* slots) {
    const Extent extent{1, grid.gridSize[0], grid.gridSize[1], grid.gridSize[2]};
    return {grid.coords, 3, extent, slots, tableCapacity(grid.n)};
}

// World coordinate of a voxel's dual vertex: entry i = 3 * row + axis of the array [n, 3] of vertices.
template <class T>
OVOXEL_HD inline T placeCoordinate(const DualGridView<T>& grid, int64_t i) {
    const int axis = static_cast<int>(i % 3);
    const T voxels = grid.local[i] + static_cast<T>(grid.coords[i]);
    const T size = axis == 0 ? grid.voxelSize[0] : (axis == 1 ? grid.voxelSize[1] : grid.voxelSize[2]);
    const T origin = axis == 0 ? grid.origin[0] : (axis == 1 ? grid.origin[1] : grid.origin[2]);
    return voxels * size + origin;
}

// Looks up the voxels that the flagged edges need; returns bit a for each axis whose quad is complete.
// rows[k]: row of cell k (see quadCorner), filled where it is needed and there.
template <class T>
OVOXEL_HD inline unsigned findQuads(const VoxelTable& table, const DualGridView<T>& grid, int64_t row, int32_t* rows) {
    const bool* flag = grid.flags + 3 * row;
    const Cell here = table.cell(row);
    constexpr unsigned kNeeds[3] = {0x0e, 0x32, 0x54};  // bit k: cell k
    unsigned needed = 0;
    for (int axis = 0; axis < 3; ++axis) needed |= flag[axis] ? kNeeds[axis] : 0u;
    if (here.x + 1 >= grid.gridSize[0]) needed &= ~0xf0u;  // cells outside the grid are not there
    if (here.y + 1 >= grid.gridSize[1]) needed &= ~0xccu;
    if (here.z + 1 >= grid.gridSize[2]) needed &= ~0xaau;
    if (needed == 0) return 0;
    VoxelTable::Slot held[kNumAround];
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
    for (int k = 1; k < kNumAround; ++k) {  // all home slots first: the reads overlap
        const Cell cell{0, here.x + (k >> 2), here.y + (k >> 1 & 1), here.z + (k & 1)};
        held[k] = needed >> k & 1 ? table.read(table.home(cell)) : VoxelTable::kEmpty;
    }
    unsigned found = 1;
    rows[0] = static_cast<int32_t>(row);
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
    for (int k = 1; k < kNumAround; ++k) {
        const Cell cell{0, here.x + (k >> 2), here.y + (k >> 1 & 1), here.z + (k & 1)};
        rows[k] = -1;
        if (held[k] == VoxelTable::kEmpty) continue;
        rows[k] = static_cast<int32_t>(table.finish(cell, table.home(cell), held[k]));
        found |= rows[k] >= 0 ? 1u << k : 0u;
    }
    unsigned complete = 0;
    for (int axis = 0; axis < 3; ++axis)
        if (flag[axis] && (found & kNeeds[axis]) == kNeeds[axis]) complete |= 1u << axis;
    return complete;
}

template <class T>
OVOXEL_HD inline T dot3(const T (&a)[3], const T (&b)[3]) {
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

template <class T>
OVOXEL_HD inline void areaNormal(const T* a, const T* b, const T* c, T (&out)[3]) {
    T u[3], v[3];
    for (int k = 0; k < 3; ++k) u[k] = b[k] - a[k], v[k] = c[k] - a[k];
    for (int k = 0; k < 3; ++k) {
        const int i = (k + 1) % 3, j = (k + 2) % 3;
        out[k] = u[i] * v[j] - u[j] * v[i];
    }
}

// How flat two triangles with normals a and b lie: the square of the cosine with its sign, 0 where one has no area.
// No square roots: not every library rounds them alike.
template <class T>
OVOXEL_HD inline T flatness(const T (&a)[3], const T (&b)[3]) {
    const T tiny = sizeof(T) == 8 ? static_cast<T>(2.2250738585072014e-308) : static_cast<T>(1.1754943508222875e-38);
    const T product = dot3(a, b), size = product < 0 ? -product : product;
    const T squareA = dot3(a, a), squareB = dot3(b, b);
    return product / (squareA < tiny ? tiny : squareA) * (size / (squareB < tiny ? tiny : squareB));
}

// True to cut the quad along q0-q2.
template <class T>
OVOXEL_HD inline bool cutAlong02(Split split, const int32_t* quad, const T* vertices, const T* weight) {
    if (split == Split::kWeight) return weight[quad[0]] * weight[quad[2]] > weight[quad[1]] * weight[quad[3]];
    const T* p[4];
    for (int i = 0; i < 4; ++i) p[i] = vertices + 3 * static_cast<int64_t>(quad[i]);
    T first[3], second[3];
    if (split == Split::kPublished) {
        areaNormal(p[0], p[1], p[2], first);
        return dot3(first, first) > 0;
    }
    areaNormal(p[0], p[1], p[2], first);
    areaNormal(p[0], p[2], p[3], second);
    const T along02 = flatness(first, second);
    areaNormal(p[0], p[1], p[3], first);
    areaNormal(p[3], p[1], p[2], second);
    return along02 >= flatness(first, second);
}

// Corner of the quad at place k (0 to 5) of its two triangles.
OVOXEL_HD inline int cutCorner(bool along02, int k) {
    return static_cast<int>((along02 ? 0x320210u : 0x213310u) >> (4 * k) & 3u);
}

// Training form: four triangles around a centre, the weighted mean of the midpoints of the diagonals.
template <class T>
OVOXEL_HD inline void quadCentre(const int32_t* quad, const T* vertices, const T* weight, T* centre) {
    const T a = weight[quad[0]] * weight[quad[2]], b = weight[quad[1]] * weight[quad[3]];
    for (int k = 0; k < 3; ++k) {
        T p[4];
        for (int i = 0; i < 4; ++i) p[i] = vertices[3 * static_cast<int64_t>(quad[i]) + k];
        centre[k] = (a * (p[0] + p[2]) + b * (p[1] + p[3])) / (T{2} * (a + b));
    }
}

// What a quad hands back to its corners: gradient by the positions of q0 and q2, of q1 and q3, and by the four weights.
template <class T>
struct QuadGradient {
    T even[3], odd[3], weight[4];
};

template <class T>
OVOXEL_HD inline QuadGradient<T> quadGradient(const int32_t* quad, const T* vertices, const T* weight, const T* centre,
                                              const T* gradCentre) {
    T w[4];
    for (int i = 0; i < 4; ++i) w[i] = weight[quad[i]];
    const T a = w[0] * w[2], b = w[1] * w[3], scale = T{1} / (T{2} * (a + b));
    QuadGradient<T> out;
    T gradA = 0, gradB = 0;
    for (int k = 0; k < 3; ++k) {
        T p[4];
        for (int i = 0; i < 4; ++i) p[i] = vertices[3 * static_cast<int64_t>(quad[i]) + k];
        out.even[k] = gradCentre[k] * (a * scale);
        out.odd[k] = gradCentre[k] * (b * scale);
        gradA += gradCentre[k] * (p[0] + p[2] - T{2} * centre[k]);
        gradB += gradCentre[k] * (p[1] + p[3] - T{2} * centre[k]);
    }
    gradA *= scale;
    gradB *= scale;
    out.weight[0] = gradA * w[2];
    out.weight[1] = gradB * w[3];
    out.weight[2] = gradA * w[0];
    out.weight[3] = gradB * w[1];
    return out;
}

// Which quads a voxel owns in the training form: its complete axes, and the number of the first of them.
struct QuadOwner {
    const uint32_t* first;    // [n]
    const uint8_t* complete;  // [n] bits
};

// Gradients of one voxel: gathered from the (at most 12) quads it is a corner of, always in the same order.
template <class T>
OVOXEL_HD inline void gatherGradient(const VoxelTable& table, const QuadOwner& owner, int64_t row,
                                     const QuadGradient<T>* quads, const T (&voxelSize)[3], const T* gradVertex,
                                     T* gradLocal, T* gradWeight) {
    const Cell here = table.cell(row);
    T position[3] = {gradVertex[0], gradVertex[1], gradVertex[2]}, weight = 0;
    for (int k = 0; k < kNumAround; ++k) {
        const int64_t from =
            k == 0 ? row : table.find({0, here.x - (k >> 2), here.y - (k >> 1 & 1), here.z - (k & 1)});
        if (from < 0) continue;
        int64_t quad = owner.first[from];
        for (int axis = 0; axis < 3; ++axis) {
            if (!(owner.complete[from] >> axis & 1)) continue;
            const QuadGradient<T>& g = quads[quad++];
            for (int i = 0; i < 4; ++i) {
                if (quadCorner(axis, i) != k) continue;
                for (int a = 0; a < 3; ++a) position[a] += i % 2 ? g.odd[a] : g.even[a];
                weight += g.weight[i];
            }
        }
    }
    for (int a = 0; a < 3; ++a) gradLocal[a] = position[a] * voxelSize[a];
    *gradWeight = weight;
}

}  // namespace ovoxel
