#include "convert/surface_device.h"

#include <limits>

#include "convert/overlap_body.h"

namespace ovoxel {
namespace {

constexpr int64_t kMostEvents = std::numeric_limits<uint32_t>::max();

int64_t* prefixSum(Workspace& workspace, const int32_t* terms, int64_t n) {
    int64_t* prefix = workspace.allocate<int64_t>(n + 1);
    exclusiveSum(workspace, terms, prefix, n);
    return prefix;
}

// Flags where a sorted list changes; returns the places of the changes, ascending.
struct Heads {
    int64_t count;
    int64_t* places;
};
Heads findHeads(Workspace& workspace, const uint64_t* sorted, int64_t n, uint64_t end) {
    uint8_t* flags = workspace.allocate<uint8_t>(n);
    int64_t* places = workspace.allocate<int64_t>(n);
    launchFor(
        workspace, n,
        [=] __device__(int64_t i) { flags[i] = sorted[i] < end && (i == 0 || sorted[i] != sorted[i - 1]); },
        "run starts");
    const int64_t count = selectFlagged(workspace, flags, places, n);
    workspace.release(flags);
    return {count, places};
}

// begin and end of the run that starts at each head go to the head's slot.
SlotSpans spansOfHeads(Workspace& workspace, const DeviceVoxels& voxels, const uint64_t* sorted, int64_t n,
                       uint64_t end, bool bySlot) {
    const Heads heads = findHeads(workspace, sorted, n, end);
    SlotSpans spans{workspace.allocate<int64_t>(voxels.count), workspace.allocate<int64_t>(voxels.count)};
    fillZero(workspace, spans.begin, voxels.count);
    fillZero(workspace, spans.end, voxels.count);
    const int64_t numHeads = heads.count, numVoxels = voxels.count;
    const int64_t* places = heads.places;
    const CellIndex index = voxels.index;
    launchFor(
        workspace, numHeads,
        [=] __device__(int64_t h) {
            const int64_t first = places[h];
            const uint64_t key = sorted[first];
            int64_t last = h + 1 < numHeads ? places[h + 1] : n;
            if (h + 1 == numHeads && sorted[n - 1] != key) {  // what follows lies outside
                int64_t low = first, high = n;
                while (high - low > 1) {
                    const int64_t mid = (low + high) >> 1;
                    (sorted[mid] == key ? low : high) = mid;
                }
                last = high;
            }
            const int64_t slot = bySlot              ? static_cast<int64_t>(key)
                                 : numHeads == numVoxels ? h
                                                         : index.find(key);
            spans.begin[slot] = first;
            spans.end[slot] = last;
        },
        "spans");
    workspace.release(heads.places);
    return spans;
}

// At most 2^21 buckets: 8 MB, which stay in cache.
CellIndex indexCells(Workspace& workspace, const GridSpec& g, const uint64_t* cells, int64_t n) {
    const uint64_t last = numCells(g) - 1;
    const int shift = std::max(0, bitsUpTo(last) - 21);
    const int64_t numBuckets = static_cast<int64_t>(last >> shift) + 1;
    uint32_t* buckets = workspace.allocate<uint32_t>(numBuckets + 1);
    launchFor(
        workspace, numBuckets + 1,
        [=] __device__(int64_t b) {
            const uint64_t first = static_cast<uint64_t>(b) << shift;
            int64_t low = 0, high = n;
            while (low < high) {
                const int64_t mid = (low + high) >> 1;
                if (cells[mid] < first)
                    low = mid + 1;
                else
                    high = mid;
            }
            buckets[b] = static_cast<uint32_t>(low);
        },
        "index of cells");
    return {cells, buckets, shift};
}

// Upper bound of the crossings and candidate cells of a triangle, at least 1.
struct WorkBody {
    GridSpec g;
    MeshView mesh;
    int32_t* work;
    OVOXEL_HD void operator()(int64_t f) const {
        const Triangle s = scanTriangle(g, mesh.triangle(f));
        double extent[3];
        for (int a = 0; a < 3; ++a) {
            const double scale = g.published ? g.size[a] : 1.0, count = static_cast<double>(g.count[a]);
            double low = s.p[0][a] / scale, high = low;
            for (int i = 1; i < 3; ++i) {
                low = s.p[i][a] / scale < low ? s.p[i][a] / scale : low;
                high = s.p[i][a] / scale > high ? s.p[i][a] / scale : high;
            }
            low = low < 0 ? 0 : low;
            high = high > count ? count : high;
            extent[a] = (high > low ? high - low : 0) + 1;
        }
        const double xy = extent[0] * extent[1], yz = extent[1] * extent[2], zx = extent[2] * extent[0];
        const double sum = xy + yz + zx;
        work[f] = sum < 2147483647.0 ? static_cast<int32_t>(sum) : 2147483647;
    }
};

struct RowCountBody {
    GridSpec g;
    MeshView mesh;
    int64_t firstTriangle;
    int32_t* counts;  // per (triangle, axis)
    OVOXEL_HD void operator()(int64_t i) const {
        const Triangle s = scanTriangle(g, mesh.triangle(firstTriangle + i / 3));
        const AxisScan scan = scanAxis(g, s, static_cast<int>(i % 3));
        counts[i] = scan.last < scan.first ? 0 : static_cast<int32_t>(scan.last - scan.first + 1);
    }
};

// One row of the scan of one triangle along one axis.
struct RowItem {
    int64_t triangle, row;
    int axis;
    ScanLine line;
};
OVOXEL_HD inline RowItem rowItem(const GridSpec& g, const MeshView& mesh, int64_t firstTriangle, int64_t owner,
                                 int64_t step) {
    RowItem item;
    item.triangle = firstTriangle + owner / 3;
    item.axis = static_cast<int>(owner % 3);
    const AxisScan scan = scanAxis(g, scanTriangle(g, mesh.triangle(item.triangle)), item.axis);
    item.row = scan.first + step;
    item.line = scanLine(g, scan, item.axis, item.row);
    return item;
}

template <class T>
SlotLists findOverlapsAs(Workspace& workspace, const GridSpec& g, const MeshView& mesh, Range triangles,
                         const DeviceVoxels& voxels) {
    const int64_t n = triangles.end - triangles.begin, firstTriangle = triangles.begin;
    int32_t* rowCounts = workspace.allocate<int32_t>(n);
    launchFor(
        workspace, n,
        [=] __device__(int64_t f) {
            const OverlapTest<T> test(g, mesh.triangle(firstTriangle + f));
            const int i = test.valid ? (test.mainAxis() + 1) % 3 : 0;
            rowCounts[f] = test.valid && test.hi[i] > test.lo[i] ? static_cast<int32_t>(test.hi[i] - test.lo[i]) : 0;
        },
        "overlap rows");
    int64_t* rowStart = prefixSum(workspace, rowCounts, n);
    workspace.release(rowCounts);
    const int64_t numRows = readBack(workspace, rowStart + n);

    const CellIndex index = voxels.index;
    int32_t* pairCounts = workspace.allocate<int32_t>(numRows);
    const int64_t* pairStart = nullptr;
    uint64_t* slots = nullptr;
    uint32_t* items = nullptr;
    int64_t numPairs = 0;
    for (const bool counting : {true, false}) {
        launchFor(
            workspace, numRows,
            [=] __device__(int64_t r) {
                const int64_t owner = ownerOf(rowStart, n, r);
                const OverlapTest<T> test(g, mesh.triangle(firstTriangle + owner));
                const int k = test.mainAxis();
                int64_t found = counting ? 0 : pairStart[r];
                test.forRow(k, test.lo[(k + 1) % 3] + r - rowStart[owner], wholeGrid(g),
                            [&](int64_t x, int64_t y, int64_t z) {
                                const int64_t slot = index.find(static_cast<uint64_t>(cellKey(g, x, y, z)));
                                if (slot < 0) return;
                                if (!counting) {
                                    slots[found] = static_cast<uint64_t>(slot);
                                    items[found] = static_cast<uint32_t>(firstTriangle + owner);
                                }
                                ++found;
                            });
                if (counting) pairCounts[r] = static_cast<int32_t>(found);
            },
            "overlaps");
        if (!counting) break;
        pairStart = prefixSum(workspace, pairCounts, numRows);
        numPairs = readBack(workspace, pairStart + numRows);
        slots = workspace.allocate<uint64_t>(numPairs);
        items = workspace.allocate<uint32_t>(numPairs);
    }
    workspace.release(pairCounts);
    workspace.release(const_cast<int64_t*>(pairStart));
    workspace.release(rowStart);
    SlotLists lists = groupBySlot(workspace, voxels, slots, items, numPairs);
    workspace.release(slots);
    workspace.release(items);
    return lists;
}

}  // namespace

std::vector<Range> cutRanges(Workspace& workspace, const int64_t* prefix, int64_t n, int64_t limit) {
    if (n <= 0) return {};
    if (readBack(workspace, prefix + n) <= limit) return {{0, n}};
    std::vector<int64_t> host(static_cast<size_t>(n) + 1);
    readBack(workspace, prefix, host.data(), n + 1);
    std::vector<Range> ranges;
    for (int64_t begin = 0; begin < n;) {
        const auto after = std::upper_bound(host.begin() + begin + 1, host.end(), host[begin] + limit);
        const int64_t end = std::max<int64_t>(begin + 1, after - host.begin() - 1);
        ranges.push_back({begin, end});
        begin = end;
    }
    return ranges;
}

std::vector<Range> cutTriangles(Workspace& workspace, const GridSpec& g, const MeshView& mesh, int64_t limit) {
    int32_t* work = workspace.allocate<int32_t>(mesh.numFaces);
    launchFor(workspace, mesh.numFaces, WorkBody{g, mesh, work}, "work of triangles");
    int64_t* prefix = prefixSum(workspace, work, mesh.numFaces);
    const std::vector<Range> ranges = cutRanges(workspace, prefix, mesh.numFaces, limit);
    workspace.release(work);
    workspace.release(prefix);
    return ranges;
}

DeviceCrossings findCrossings(Workspace& workspace, const GridSpec& g, const MeshView& mesh, Range triangles) {
    const int64_t numScans = 3 * (triangles.end - triangles.begin), firstTriangle = triangles.begin;
    int32_t* rowCounts = workspace.allocate<int32_t>(numScans);
    launchFor(workspace, numScans, RowCountBody{g, mesh, firstTriangle, rowCounts}, "scan rows");
    int64_t* rowStart = prefixSum(workspace, rowCounts, numScans);
    workspace.release(rowCounts);
    const int64_t numRows = readBack(workspace, rowStart + numScans);

    int32_t* counts = workspace.allocate<int32_t>(numRows);
    int64_t* owners = workspace.allocate<int64_t>(numRows);
    launchFor(
        workspace, numRows,
        [=] __device__(int64_t r) {
            const int64_t owner = ownerOf(rowStart, numScans, r);
            const RowItem item = rowItem(g, mesh, firstTriangle, owner, r - rowStart[owner]);
            owners[r] = owner;
            counts[r] = item.line.last < item.line.first ? 0 : static_cast<int32_t>(item.line.last - item.line.first + 1);
        },
        "scan lines");
    int64_t* start = prefixSum(workspace, counts, numRows);
    workspace.release(counts);
    const int64_t n = readBack(workspace, start + numRows);
    if (4 * n > kMostEvents) throw std::length_error("one triangle crosses more than 2^30 grid edges");

    DeviceCrossings out;
    out.count = n;
    Crossing* list = out.list = workspace.allocate<Crossing>(n);
    uint64_t* cells = workspace.allocate<uint64_t>(4 * n);
    uint32_t* events = workspace.allocate<uint32_t>(4 * n);
    const uint64_t outside = numCells(g);
    launchFor(
        workspace, n,
        [=] __device__(int64_t c) {
            const int64_t r = ownerOf(start, numRows, c), owner = owners[r];
            const RowItem item = rowItem(g, mesh, firstTriangle, owner, r - rowStart[owner]);
            const int64_t column = item.line.first + (c - start[r]);
            int64_t cell = 0;
            float where = 0;
            const bool inside = crossLine(g, item.line, item.axis, column, cell, where);
            list[c] = {static_cast<int32_t>(item.triangle), item.axis, where};
            for (int corner = 0; corner < 4; ++corner) {
                int32_t at[3];
                cellAround(item.axis, item.row, column, cell, corner, at);
                cells[4 * c + corner] = inside ? static_cast<uint64_t>(cellKey(g, at[0], at[1], at[2])) : outside;
                events[4 * c + corner] = static_cast<uint32_t>(4 * c + corner);
            }
        },
        "crossings");
    workspace.release(rowStart);
    workspace.release(owners);
    workspace.release(start);
    const SortedKeys sorted = sortPairs(workspace, cells, events, 4 * n, bitsUpTo(outside));
    workspace.release(cells);
    workspace.release(events);
    out.cells = sorted.keys;
    out.events = sorted.values;
    return out;
}

void release(Workspace& workspace, DeviceCrossings& crossings) {
    workspace.release(crossings.list);
    workspace.release(crossings.cells);
    workspace.release(crossings.events);
    crossings.count = 0;
}

DeviceVoxels findVoxels(Workspace& workspace, const GridSpec& g, const MeshView& mesh,
                        const std::vector<Range>& ranges) {
    const uint64_t outside = numCells(g);
    DeviceVoxels voxels;
    voxels.cells = workspace.allocate<uint64_t>(0);
    uint64_t* firsts = workspace.allocate<uint64_t>(0);  // first event of each slot, counted over all ranges
    uint64_t base = 0;
    for (const Range& range : ranges) {
        DeviceCrossings crossings = findCrossings(workspace, g, mesh, range);
        Heads heads = findHeads(workspace, crossings.cells, 4 * crossings.count, outside);
        // Known voxels first, then those of this range: among equal cells the earlier creation comes first.
        const int64_t known = voxels.count, n = known + heads.count;
        uint64_t* cells = workspace.allocate<uint64_t>(n);
        uint64_t* created = workspace.allocate<uint64_t>(n);
        uint32_t* index = workspace.allocate<uint32_t>(n);
        const uint64_t *knownCells = voxels.cells, *knownFirsts = firsts;
        launchFor(
            workspace, n,
            [=] __device__(int64_t i) {
                const int64_t at = i < known ? 0 : heads.places[i - known];
                cells[i] = i < known ? knownCells[i] : crossings.cells[at];
                created[i] = i < known ? knownFirsts[i] : base + crossings.events[at];
                index[i] = static_cast<uint32_t>(i);
            },
            "created voxels");
        workspace.release(heads.places);
        base += 4 * static_cast<uint64_t>(crossings.count);
        if (ranges.size() == 1)
            voxels.crossings = crossings;
        else
            release(workspace, crossings);
        workspace.release(voxels.cells);
        workspace.release(firsts);
        if (known == 0) {
            voxels.cells = cells;
            firsts = created;
            voxels.count = n;
            workspace.release(index);
            continue;
        }
        const SortedKeys sorted = sortPairs(workspace, cells, index, n, bitsUpTo(outside));
        workspace.release(cells);
        workspace.release(index);
        heads = findHeads(workspace, sorted.keys, n, outside);
        voxels.count = heads.count;
        uint64_t* mergedCells = voxels.cells = workspace.allocate<uint64_t>(heads.count);
        uint64_t* mergedFirsts = firsts = workspace.allocate<uint64_t>(heads.count);
        launchFor(
            workspace, heads.count,
            [=] __device__(int64_t i) {
                const int64_t at = heads.places[i];
                mergedCells[i] = sorted.keys[at];
                mergedFirsts[i] = created[sorted.values[at]];
            },
            "joined voxels");
        workspace.release(heads.places);
        workspace.release(sorted.keys);
        workspace.release(sorted.values);
        workspace.release(created);
    }
    if (voxels.count > std::numeric_limits<int32_t>::max()) throw std::length_error("more than 2^31 voxels");

    const int64_t n = voxels.count;
    voxels.index = indexCells(workspace, g, voxels.cells, n);
    uint32_t* slots = workspace.allocate<uint32_t>(n);
    uint32_t* rows = voxels.rows = workspace.allocate<uint32_t>(n);
    launchFor(workspace, n, [=] __device__(int64_t i) { slots[i] = static_cast<uint32_t>(i); }, "slots");
    const SortedKeys order = sortPairs(workspace, firsts, slots, n, bitsUpTo(base));
    launchFor(
        workspace, n, [=] __device__(int64_t row) { rows[order.values[row]] = static_cast<uint32_t>(row); }, "rows");
    workspace.release(order.keys);
    workspace.release(order.values);
    workspace.release(slots);
    workspace.release(firsts);
    return voxels;
}

SlotSpans spansOfCells(Workspace& workspace, const GridSpec& g, const DeviceVoxels& voxels, const uint64_t* cells,
                       int64_t n) {
    return spansOfHeads(workspace, voxels, cells, n, numCells(g), false);
}

SlotLists groupBySlot(Workspace& workspace, const DeviceVoxels& voxels, const uint64_t* slots, const uint32_t* items,
                      int64_t n) {
    const uint64_t count = static_cast<uint64_t>(voxels.count);
    const SortedKeys sorted = sortPairs(workspace, slots, items, n, bitsUpTo(count));
    SlotLists lists{sorted.values, spansOfHeads(workspace, voxels, sorted.keys, n, count, true)};
    workspace.release(sorted.keys);
    return lists;
}

void release(Workspace& workspace, DeviceVoxels& voxels) {
    workspace.release(voxels.cells);
    workspace.release(voxels.rows);
    workspace.release(const_cast<uint32_t*>(voxels.index.buckets));
}

void release(Workspace& workspace, SlotSpans& spans) {
    workspace.release(spans.begin);
    workspace.release(spans.end);
}

void release(Workspace& workspace, SlotLists& lists) {
    workspace.release(lists.items);
    release(workspace, lists.spans);
}

SlotLists findOverlaps(Workspace& workspace, const GridSpec& g, const MeshView& mesh, Range triangles,
                       const DeviceVoxels& voxels) {
    return g.published ? findOverlapsAs<float>(workspace, g, mesh, triangles, voxels)
                       : findOverlapsAs<double>(workspace, g, mesh, triangles, voxels);
}

}  // namespace ovoxel
