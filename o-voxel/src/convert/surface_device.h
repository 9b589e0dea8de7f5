// The voxels of a surface on a GPU, by sorting: crossings of triangles, the voxels around them, and for each voxel what
// touches it, in the order of the CPU path. For .cu files only.
#pragma once

#include <vector>

#include "common/launch.h"
#include "common/primitives.h"
#include "convert/crossings_body.h"

namespace ovoxel {

struct Range {
    int64_t begin, end;
};

// Cuts [0, n) into ranges whose sums of the terms behind `prefix` [n + 1] (device) are at most `limit`, or one item.
std::vector<Range> cutRanges(Workspace& workspace, const int64_t* prefix, int64_t n, int64_t limit);

// Ranges of triangles with at most `limit` crossings and candidate cells each, or of one triangle.
std::vector<Range> cutTriangles(Workspace& workspace, const GridSpec& g, const MeshView& mesh, int64_t limit);

struct Crossing {
    int32_t triangle, axis;
    float place;  // along the axis, in voxels
};

// Crossings of a range of triangles in order of triangle, axis, row, column.
struct DeviceCrossings {
    int64_t count = 0;  // candidates; those outside the grid have no events
    Crossing* list;     // [count]
    // Event 4 * crossing + corner: a voxel around the crossed edge (cellAround). Sorted by cell; equal cells keep the
    // order of the events. Events without a cell come last.
    uint64_t* cells;   // [4 * count] cellKey
    uint32_t* events;  // [4 * count]
};
DeviceCrossings findCrossings(Workspace& workspace, const GridSpec& g, const MeshView& mesh, Range triangles);
void release(Workspace& workspace, DeviceCrossings& crossings);

// Finds cells in an ascending list: a binary search among the few with the same leading bits.
struct CellIndex {
    const uint64_t* cells;
    const uint32_t* buckets;  // [numBuckets + 1] first slot of each
    int shift;                // bucket of a cell: cell >> shift

    // Slot of a cell, or -1.
    __device__ int64_t find(uint64_t cell) const {
        const uint64_t bucket = cell >> shift;
        uint32_t low = buckets[bucket], high = buckets[bucket + 1];
        const uint32_t end = high;
        while (low < high) {
            const uint32_t mid = low + ((high - low) >> 1);
            if (cells[mid] < cell)
                low = mid + 1;
            else
                high = mid;
        }
        return low < end && cells[low] == cell ? int64_t{low} : -1;
    }
};

// All voxels of a surface. A slot is a place in ascending order of the cells, a row one in order of creation.
struct DeviceVoxels {
    int64_t count = 0;
    uint64_t* cells;  // [count] ascending cellKey, by slot
    uint32_t* rows;   // [count] row of each slot
    CellIndex index;  // of the cells
    DeviceCrossings crossings;  // of all triangles if they fit in one range, else empty
};
DeviceVoxels findVoxels(Workspace& workspace, const GridSpec& g, const MeshView& mesh,
                        const std::vector<Range>& ranges);

// For each slot the items [begin, end) of a list; begin = end = 0 where there are none.
struct SlotSpans {
    int64_t *begin, *end;
};

// Spans of a list of n items sorted by cell; those with cells outside the grid are left out.
SlotSpans spansOfCells(Workspace& workspace, const GridSpec& g, const DeviceVoxels& voxels, const uint64_t* cells,
                       int64_t n);
// Pairs (slot, item) in ascending order of the items, regrouped by slot.
struct SlotLists {
    uint32_t* items;
    SlotSpans spans;
};
SlotLists groupBySlot(Workspace& workspace, const DeviceVoxels& voxels, const uint64_t* slots, const uint32_t* items,
                      int64_t n);
void release(Workspace& workspace, DeviceVoxels& voxels);
void release(Workspace& workspace, SlotSpans& spans);
void release(Workspace& workspace, SlotLists& lists);

// The triangles of a range that overlap each voxel, ascending.
SlotLists findOverlaps(Workspace& workspace, const GridSpec& g, const MeshView& mesh, Range triangles,
                       const DeviceVoxels& voxels);

// The i with prefix[i] <= value < prefix[i + 1], for a prefix sum of n terms.
__device__ inline int64_t ownerOf(const int64_t* prefix, int64_t n, int64_t value) {
    int64_t low = 0, high = n;
    while (high - low > 1) {
        const int64_t mid = (low + high) >> 1;
        if (prefix[mid] <= value)
            low = mid;
        else
            high = mid;
    }
    return low;
}

OVOXEL_HD inline void cellOfKey(const GridSpec& g, uint64_t key, int32_t cell[3]) {
    const uint64_t y = static_cast<uint64_t>(g.count[1]), z = static_cast<uint64_t>(g.count[2]);
    cell[0] = static_cast<int32_t>(key / (y * z));
    cell[1] = static_cast<int32_t>(key / z % y);
    cell[2] = static_cast<int32_t>(key % z);
}

OVOXEL_HD inline uint64_t numCells(const GridSpec& g) {
    return static_cast<uint64_t>(g.count[0]) * static_cast<uint64_t>(g.count[1]) * static_cast<uint64_t>(g.count[2]);
}

// Number of bits of values up to and including `largest`.
inline int bitsUpTo(uint64_t largest) {
    int bits = 1;
    while (bits < 64 && largest >> bits) ++bits;
    return bits;
}

}  // namespace ovoxel
