// Cutting a voxelisation into bricks: cubes of cells that are worked on one by one, each by one thread, in memory that
// stays in cache. A brick sees its triangles in ascending order and computes for its own cells exactly what a pass over
// the whole grid would, so results do not depend on the cutting.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <stdexcept>
#include <vector>

#include "common/parallel.h"
#include "common/parallel_sort.h"
#include "convert/crossings_body.h"
#include "convert/overlap_body.h"

namespace ovoxel {

// Runs produce(begin, end, out) on fixed chunks of [0, n) in parallel and joins the outputs in order.
template <class Item, class Produce>
std::vector<Item> gatherInOrder(int64_t n, int64_t chunk, Produce&& produce) {
    const int64_t chunks = (n + chunk - 1) / chunk;
    std::vector<std::vector<Item>> parts(static_cast<size_t>(chunks));
    parallelFor(chunks, 1, [&](int64_t begin, int64_t end) {
        for (int64_t c = begin; c < end; ++c) produce(c * chunk, std::min(n, (c + 1) * chunk), parts[c]);
    });
    if (chunks == 1) return std::move(parts[0]);
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

// How the grid is cut.
struct BrickLayout {
    int side;  // cells per axis
    int64_t count[3];

    explicit BrickLayout(const GridSpec& g);
    int64_t numBricks() const { return count[0] * count[1] * count[2]; }
    uint64_t keyOf(int64_t bx, int64_t by, int64_t bz) const {
        return static_cast<uint64_t>((bx * count[1] + by) * count[2] + bz);
    }
    uint64_t keyOfCell(int64_t x, int64_t y, int64_t z) const { return keyOf(x / side, y / side, z / side); }
    CellBox box(uint64_t key, const GridSpec& g) const;
};

// Things by the brick they concern: those of keys[b] are items[offsets[b]] ... items[offsets[b + 1]], ascending.
struct BrickLists {
    std::vector<uint64_t> keys;  // ascending
    std::vector<int64_t> offsets;
    std::vector<uint32_t> items;

    int64_t size() const { return static_cast<int64_t>(keys.size()); }
    // Position of a brick, or -1.
    int64_t find(uint64_t key) const;
};

// `pairs`: (brick, item) in ascending order of the items.
BrickLists groupByBrick(std::vector<KeyValue>&& pairs, const BrickLayout& layout);

// The triangles that may create or overlap voxels of each brick.
BrickLists trianglesByBrick(const GridSpec& g, const MeshView& mesh, const BrickLayout& layout);

// Numbers of the voxels of one brick by cell. Cleared cell by cell, so it is reused from brick to brick.
class BrickIndex {
  public:
    explicit BrickIndex(const BrickLayout& layout)
        : side_(layout.side), rows_(static_cast<size_t>(layout.side) * layout.side * layout.side, kEmpty) {}

    void place(const CellBox& box) {
        for (int a = 0; a < 3; ++a) origin_[a] = static_cast<int32_t>(box.lo[a]);
    }
    int32_t cellOf(int32_t x, int32_t y, int32_t z) const {
        return ((x - origin_[0]) * side_ + (y - origin_[1])) * side_ + (z - origin_[2]);
    }
    // Number of a voxel of the brick, or -1.
    int32_t find(int32_t cell) const { return rows_[cell] == kEmpty ? -1 : int32_t{rows_[cell]}; }
    void set(int32_t cell, int32_t row) { rows_[cell] = static_cast<uint16_t>(row); }
    void clear(int32_t cell) { rows_[cell] = kEmpty; }

  private:
    static constexpr uint16_t kEmpty = 0xffff;  // a brick has at most 2^15 cells
    int side_;
    int32_t origin_[3] = {};
    std::vector<uint16_t> rows_;
};

// When a voxel was created: by which triangle, and where in the order of its crossings.
struct Creation {
    uint64_t within;  // axis, row, column, corner
    uint32_t triangle;
};

inline Creation creationAt(int64_t triangle, int axis, int64_t row, int64_t column, int corner) {
    return {static_cast<uint64_t>(axis) << 48 | static_cast<uint64_t>(row) << 25 | static_cast<uint64_t>(column) << 2 |
                static_cast<uint64_t>(corner),
            static_cast<uint32_t>(triangle)};
}

// Runs body(scratch, b) for b in [0, n) on threads that each keep one scratch = make().
template <class Make, class Body>
void forEachBrick(int64_t n, Make&& make, Body&& body) {
    std::atomic<int64_t> next{0};
    parallelFor(std::min<int64_t>(numThreads(), n), 1, [&](int64_t, int64_t) {
        auto scratch = make();
        for (int64_t b = next.fetch_add(1); b < n; b = next.fetch_add(1)) body(scratch, b);
    });
}

// Hands every voxel of every brick to store(row, voxel), rows in order of creation, and frees the bricks. Voxel has a
// member `creation`.
template <class Voxel, class Store>
void storeInOrder(int64_t numTriangles, std::vector<std::vector<Voxel>>& bricks, Store&& store) {
    struct Entry {
        uint64_t within;
        const Voxel* voxel;
    };
    std::vector<std::atomic<uint32_t>> cursor(static_cast<size_t>(numTriangles) + 1);
    const int64_t numBricks = static_cast<int64_t>(bricks.size());
    parallelFor(numBricks, 16, [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b)
            for (const Voxel& v : bricks[b]) cursor[v.creation.triangle].fetch_add(1, std::memory_order_relaxed);
    });
    uint64_t total = 0;
    for (auto& c : cursor) {  // counts -> first rows
        const uint32_t count = c.load(std::memory_order_relaxed);
        c.store(static_cast<uint32_t>(total), std::memory_order_relaxed);
        total += count;
    }
    const std::unique_ptr<Entry[]> entries(new Entry[static_cast<size_t>(total)]);
    parallelFor(numBricks, 16, [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b)
            for (const Voxel& v : bricks[b])
                entries[cursor[v.creation.triangle].fetch_add(1, std::memory_order_relaxed)] = {v.creation.within, &v};
    });
    // Now cursor[f] is the end of triangle f.
    parallelFor(numTriangles, 1024, [&](int64_t begin, int64_t end) {
        for (int64_t f = begin; f < end; ++f) {
            const int64_t first = f == 0 ? 0 : cursor[f - 1].load(std::memory_order_relaxed);
            const int64_t last = cursor[f].load(std::memory_order_relaxed);
            std::sort(entries.get() + first, entries.get() + last,
                      [](const Entry& l, const Entry& r) { return l.within < r.within; });
            for (int64_t row = first; row < last; ++row) store(row, *entries[row].voxel);
        }
    });
    parallelFor(numBricks, 16, [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b) std::vector<Voxel>().swap(bricks[b]);
    });
}

template <class Voxel>
int64_t countVoxels(const std::vector<std::vector<Voxel>>& bricks) {
    int64_t total = 0;
    for (const auto& brick : bricks) total += static_cast<int64_t>(brick.size());
    if (total > std::numeric_limits<int32_t>::max()) throw std::length_error("more than 2^31 voxels");
    return total;
}

}  // namespace ovoxel
