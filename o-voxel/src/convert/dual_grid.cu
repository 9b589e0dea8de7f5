#include "convert/boundary_device.h"
#include "convert/dual_grid.h"
#include "convert/segment_body.h"
#include "convert/surface_device.h"

namespace ovoxel {
namespace {

// Planes of a range of triangles.
struct Planes {
    FacePlane* planes;
    int64_t first;
    __device__ const FacePlane& of(int64_t triangle) const { return planes[triangle - first]; }
};

Planes findPlanes(Workspace& workspace, const MeshView& mesh, Range triangles) {
    const int64_t n = triangles.end - triangles.begin, first = triangles.begin;
    FacePlane* planes = workspace.allocate<FacePlane>(n);
    launchFor(workspace, n, [=] __device__(int64_t i) { planes[i] = facePlane(mesh.triangle(first + i)); }, "planes");
    return {planes, first};
}

// Adds the crossings of a range of triangles to the voxels, one thread a voxel, in order.
struct CrossingBody {
    GridSpec g;
    const uint64_t* cells;  // by slot
    SlotSpans spans;
    DeviceCrossings crossings;
    Planes planes;
    bool odd;
    DualVoxel* voxels;
    __device__ void operator()(int64_t slot) const {
        if (spans.begin[slot] == spans.end[slot]) return;
        int32_t cell[3];
        cellOfKey(g, cells[slot], cell);
        const Vec3 lower = cellCorner(g, cell);
        DualVoxel voxel = voxels[slot];
        for (int64_t i = spans.begin[slot]; i < spans.end[slot]; ++i) {
            const uint32_t event = crossings.events[i];
            const Crossing c = crossings.list[event >> 2];
            voxel.addCrossing(g, planes.of(c.triangle), c.axis, static_cast<int>(event & 3), c.place, lower, odd);
        }
        voxels[slot] = voxel;
    }
};

struct FaceBody {
    GridSpec g;
    const uint64_t* cells;
    SlotLists faces;
    Planes planes;
    double weight;
    DualVoxel* voxels;
    __device__ void operator()(int64_t slot) const {
        if (faces.spans.begin[slot] == faces.spans.end[slot]) return;
        int32_t cell[3];
        cellOfKey(g, cells[slot], cell);
        const Vec3 lower = cellCorner(g, cell);
        DualVoxel voxel = voxels[slot];
        for (int64_t i = faces.spans.begin[slot]; i < faces.spans.end[slot]; ++i)
            voxel.addFace(g, planes.of(faces.items[i]), lower, weight);
        voxels[slot] = voxel;
    }
};

struct BoundaryBody {
    GridSpec g;
    MeshView mesh;
    const uint64_t* cells;
    SlotLists lists;
    const int32_t* edges;
    double weight;
    DualVoxel* voxels;
    __device__ void operator()(int64_t slot) const {
        if (lists.spans.begin[slot] == lists.spans.end[slot]) return;
        int32_t cell[3];
        cellOfKey(g, cells[slot], cell);
        const Vec3 lower = cellCorner(g, cell);
        DualVoxel voxel = voxels[slot];
        for (int64_t i = lists.spans.begin[slot]; i < lists.spans.end[slot]; ++i) {
            const int32_t* e = edges + 2 * int64_t{lists.items[i]};
            voxel.addBoundary(mesh.vertex(e[0]), mesh.vertex(e[1]), lower, weight);
        }
        voxels[slot] = voxel;
    }
};

struct SolveBody {
    GridSpec g;
    const uint64_t* cells;
    const uint32_t* rows;
    const DualVoxel* voxels;
    double regularizationWeight;
    DeviceDualGrid out;
    __device__ void operator()(int64_t slot) const {
        int32_t cell[3];
        cellOfKey(g, cells[slot], cell);
        DualVoxel voxel = voxels[slot];
        float dual[3];
        voxel.solve(g, cellCorner(g, cell), regularizationWeight, dual);
        const int64_t row = rows[slot];
        for (int a = 0; a < 3; ++a) {
            out.coords[3 * row + a] = cell[a];
            out.dualVertices[3 * row + a] = dual[a];
            out.intersected[3 * row + a] = voxel.flags[a];
        }
    }
};

// Number of voxels along each edge, or with `slots` the pairs (slot, edge).
struct WalkBody {
    GridSpec g;
    MeshView mesh;
    const int32_t* edges;
    int64_t firstEdge;
    CellIndex index;
    int32_t* counts;
    const int64_t* start;  // of all edges
    uint64_t* slots;
    uint32_t* items;
    __device__ void operator()(int64_t i) const {
        const int64_t e = firstEdge + i;
        int64_t found = 0;
        const int64_t offset = slots ? start[e] - start[firstEdge] : 0;
        walkBoundaryEdge(g, mesh.vertex(edges[2 * e]), mesh.vertex(edges[2 * e + 1]), [&](const int32_t cell[3]) {
            const int64_t slot = index.find(static_cast<uint64_t>(cellKey(g, cell[0], cell[1], cell[2])));
            if (slot < 0) return;
            if (slots) {
                slots[offset + found] = static_cast<uint64_t>(slot);
                items[offset + found] = static_cast<uint32_t>(e);
            }
            ++found;
        });
        if (counts) counts[i] = static_cast<int32_t>(found);
    }
};

void addBoundary(Workspace& workspace, const GridSpec& g, const MeshView& mesh, const DeviceVoxels& voxels,
                 double weight, int64_t chunkWork, DualVoxel* state) {
    const DeviceEdges edges = boundaryEdgesOnDevice(workspace, mesh, !g.published);
    int32_t* counts = workspace.allocate<int32_t>(edges.count);
    int64_t* start = workspace.allocate<int64_t>(edges.count + 1);
    launchFor(workspace, edges.count,
              WalkBody{g, mesh, edges.vertices, 0, voxels.index, counts, nullptr, nullptr, nullptr},
              "boundary walk");
    exclusiveSum(workspace, counts, start, edges.count);
    for (const Range& range : cutRanges(workspace, start, edges.count, chunkWork)) {
        int64_t ends[2];
        readBack(workspace, start + range.begin, ends, 1);
        readBack(workspace, start + range.end, ends + 1, 1);
        const int64_t n = ends[1] - ends[0];
        if (n == 0) continue;
        uint64_t* slots = workspace.allocate<uint64_t>(n);
        uint32_t* items = workspace.allocate<uint32_t>(n);
        launchFor(workspace, range.end - range.begin,
                  WalkBody{g, mesh, edges.vertices, range.begin, voxels.index, nullptr, start, slots,
                           items},
                  "boundary walk");
        SlotLists lists = groupBySlot(workspace, voxels, slots, items, n);
        launchFor(workspace, voxels.count,
                  BoundaryBody{g, mesh, voxels.cells, lists, edges.vertices, weight, state}, "boundary term");
        workspace.release(slots);
        workspace.release(items);
        release(workspace, lists);
    }
    workspace.release(counts);
    workspace.release(start);
    workspace.release(edges.vertices);
}

}  // namespace

DeviceDualGrid meshToDualGridOnDevice(Workspace& workspace, const GridSpec& g, const MeshView& mesh,
                                      const DualGridOptions& options, int64_t chunkWork) {
    const std::vector<Range> ranges = cutTriangles(workspace, g, mesh, chunkWork);
    DeviceVoxels voxels = findVoxels(workspace, g, mesh, ranges);
    const int64_t n = voxels.count;
    DeviceDualGrid out{n, workspace.allocate<int32_t>(3 * n), workspace.allocate<float>(3 * n),
                       workspace.allocate<uint8_t>(3 * n)};
    if (n == 0) return out;
    DualVoxel* state = workspace.allocate<DualVoxel>(n);
    fillZero(workspace, state, n);
    for (const Range& range : ranges) {
        DeviceCrossings crossings =
            ranges.size() == 1 ? voxels.crossings : findCrossings(workspace, g, mesh, range);
        SlotSpans spans = spansOfCells(workspace, g, voxels, crossings.cells, 4 * crossings.count);
        const Planes planes = findPlanes(workspace, mesh, range);
        launchFor(workspace, n, CrossingBody{g, voxels.cells, spans, crossings, planes, options.oddCrossings, state},
                  "crossing term");
        workspace.release(planes.planes);
        release(workspace, spans);
        release(workspace, crossings);
    }
    if (options.faceWeight > 0)
        for (const Range& range : ranges) {
            SlotLists faces = findOverlaps(workspace, g, mesh, range, voxels);
            const Planes planes = findPlanes(workspace, mesh, range);
            launchFor(workspace, n, FaceBody{g, voxels.cells, faces, planes, options.faceWeight, state}, "face term");
            workspace.release(planes.planes);
            release(workspace, faces);
        }
    if (options.boundaryWeight > 0)
        addBoundary(workspace, g, mesh, voxels, options.boundaryWeight, chunkWork, state);
    launchFor(workspace, n,
              SolveBody{g, voxels.cells, voxels.rows, state, options.regularizationWeight, out}, "dual vertices");
    workspace.release(state);
    release(workspace, voxels);
    return out;
}

}  // namespace ovoxel
