// The voxels of a surface: crossings of all triangles, the voxels around them, and lists of what touches each voxel.
// Everything here is deterministic: work is cut into fixed chunks whose results are joined in order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "common/parallel.h"
#include "convert/crossings_body.h"
#include "convert/overlap_body.h"

namespace ovoxel {

struct MeshView {
    const float* vertices;  // [V, 3] box-relative
    const int32_t* faces;   // [F, 3] or null: triangle soup, vertices [3F, 3]
    int64_t numVertices, numFaces;

    Triangle triangle(int64_t f) const {
        if (faces) return loadTriangle(vertices, faces, f);
        Triangle t;
        for (int i = 0; i < 3; ++i)
            for (int a = 0; a < 3; ++a) t.p[i][a] = static_cast<double>(vertices[9 * f + 3 * i + a]);
        return t;
    }
};

// Runs produce(begin, end, out) on fixed chunks of [0, n) in parallel and joins the outputs in order.
template <class Item, class Produce>
std::vector<Item> gatherChunks(int64_t n, int64_t chunk, Produce&& produce) {
    const int64_t chunks = (n + chunk - 1) / chunk;
    std::vector<std::vector<Item>> parts(static_cast<size_t>(chunks));
    parallelFor(chunks, 1, [&](int64_t begin, int64_t end) {
        for (int64_t c = begin; c < end; ++c) produce(c * chunk, std::min(n, (c + 1) * chunk), parts[c]);
    });
    std::vector<int64_t> offsets(parts.size() + 1, 0);
    for (size_t c = 0; c < parts.size(); ++c) offsets[c + 1] = offsets[c] + static_cast<int64_t>(parts[c].size());
    std::vector<Item> all(static_cast<size_t>(offsets.back()));
    parallelFor(chunks, 1, [&](int64_t begin, int64_t end) {
        for (int64_t c = begin; c < end; ++c) {
            std::copy(parts[c].begin(), parts[c].end(), all.begin() + offsets[c]);
            std::vector<Item>().swap(parts[c]);
        }
    });
    return all;
}

inline std::vector<Crossing> findCrossings(const GridSpec& g, const MeshView& mesh) {
    return gatherChunks<Crossing>(mesh.numFaces, 4096, [&](int64_t begin, int64_t end, std::vector<Crossing>& out) {
        for (int64_t f = begin; f < end; ++f) {
            crossTriangle(g, mesh.triangle(f), [&](int axis, int64_t cu, int64_t cw, int64_t ca, double local) {
                Crossing c;
                c.cell[axis] = static_cast<int32_t>(ca);
                c.cell[(axis + 1) % 3] = static_cast<int32_t>(cu);
                c.cell[(axis + 2) % 3] = static_cast<int32_t>(cw);
                c.triangle = static_cast<int32_t>(f);
                c.at = static_cast<float>(local);
                c.axis = axis;
                out.push_back(c);
            });
        }
    });
}

// Exact map from cells to rows; rows are numbered in order of first insertion.
class VoxelIndex {
  public:
    explicit VoxelIndex(const GridSpec& g) : grid_(g) { resize(1 << 12); }

    int64_t size() const { return static_cast<int64_t>(coords_.size() / 3); }
    const std::vector<int32_t>& coords() const { return coords_; }

    int32_t insert(int32_t x, int32_t y, int32_t z) {
        const uint64_t key = cellKey(grid_, x, y, z);
        uint64_t slot = slotOf(key);
        while (keys_[slot] != kEmpty) {
            if (keys_[slot] == key) return rows_[slot];
            slot = (slot + 1) & mask_;
        }
        if (size() >= std::numeric_limits<int32_t>::max()) throw std::length_error("more than 2^31 voxels");
        const int32_t row = static_cast<int32_t>(size());
        keys_[slot] = key;
        rows_[slot] = row;
        coords_.insert(coords_.end(), {x, y, z});
        if (2 * static_cast<uint64_t>(size()) > mask_) resize(2 * (mask_ + 1));
        return row;
    }
    // Row of a cell inside the grid, or -1.
    int32_t find(int64_t x, int64_t y, int64_t z) const {
        const uint64_t key = cellKey(grid_, x, y, z);
        for (uint64_t slot = slotOf(key); keys_[slot] != kEmpty; slot = (slot + 1) & mask_)
            if (keys_[slot] == key) return rows_[slot];
        return -1;
    }

  private:
    static constexpr uint64_t kEmpty = ~uint64_t{0};
    uint64_t slotOf(uint64_t key) const { return (key * 0x9E3779B97F4A7C15ull >> 20) & mask_; }
    void resize(uint64_t capacity) {
        std::vector<uint64_t> keys(capacity, kEmpty);
        std::vector<int32_t> rows(capacity);
        mask_ = capacity - 1;
        for (int64_t row = 0; row < size(); ++row) {
            const int32_t* c = &coords_[3 * row];
            const uint64_t key = cellKey(grid_, c[0], c[1], c[2]);
            uint64_t slot = slotOf(key);
            while (keys[slot] != kEmpty) slot = (slot + 1) & mask_;
            keys[slot] = key;
            rows[slot] = static_cast<int32_t>(row);
        }
        keys_.swap(keys);
        rows_.swap(rows);
    }

    GridSpec grid_;
    uint64_t mask_ = 0;
    std::vector<uint64_t> keys_;
    std::vector<int32_t> rows_;
    std::vector<int32_t> coords_;
};

// Makes the four voxels around each crossed edge; returns their rows, [4 * crossing + (du, dw) in 00, 01, 10, 11].
inline std::vector<int32_t> insertCrossings(const std::vector<Crossing>& crossings, VoxelIndex& index) {
    std::vector<int32_t> rows(4 * crossings.size());
    for (size_t i = 0; i < crossings.size(); ++i) {
        const Crossing& c = crossings[i];
        const int u = (c.axis + 1) % 3, w = (c.axis + 2) % 3;
        for (int corner = 0; corner < 4; ++corner) {
            int32_t cell[3] = {c.cell[0], c.cell[1], c.cell[2]};
            cell[u] += corner >> 1;
            cell[w] += corner & 1;
            rows[4 * i + corner] = index.insert(cell[0], cell[1], cell[2]);
        }
    }
    return rows;
}

// What touches a voxel: row, and the index of the thing.
struct Touch {
    int32_t row, item;
};

// Existing voxels that each triangle overlaps.
template <class T>
std::vector<Touch> findOverlaps(const GridSpec& g, const MeshView& mesh, const VoxelIndex& index) {
    return gatherChunks<Touch>(mesh.numFaces, 4096, [&](int64_t begin, int64_t end, std::vector<Touch>& out) {
        for (int64_t f = begin; f < end; ++f) {
            const OverlapTest<T> test(g, mesh.triangle(f));
            test.forEach([&](int64_t x, int64_t y, int64_t z) {
                const int32_t row = index.find(x, y, z);
                if (row >= 0) out.push_back({row, static_cast<int32_t>(f)});
            });
        }
    });
}

// Lists per voxel, in the order given: items of row r are items[offsets[r]] ... items[offsets[r + 1]].
struct RowLists {
    std::vector<int64_t> offsets, items;
};

template <class RowOf, class ItemOf>
RowLists groupByRow(int64_t numRows, int64_t n, RowOf&& rowOf, ItemOf&& itemOf) {
    RowLists lists;
    lists.offsets.assign(static_cast<size_t>(numRows) + 1, 0);
    for (int64_t i = 0; i < n; ++i) ++lists.offsets[rowOf(i) + 1];
    for (int64_t r = 0; r < numRows; ++r) lists.offsets[r + 1] += lists.offsets[r];
    lists.items.resize(static_cast<size_t>(n));
    std::vector<int64_t> cursor(lists.offsets.begin(), lists.offsets.end() - 1);
    for (int64_t i = 0; i < n; ++i) lists.items[cursor[rowOf(i)]++] = itemOf(i);
    return lists;
}

inline RowLists groupTouches(int64_t numRows, const std::vector<Touch>& touches) {
    return groupByRow(
        numRows, static_cast<int64_t>(touches.size()), [&](int64_t i) { return touches[i].row; },
        [&](int64_t i) { return touches[i].item; });
}

}  // namespace ovoxel
