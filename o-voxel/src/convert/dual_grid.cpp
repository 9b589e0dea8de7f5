#include "convert/dual_grid.h"

#include "convert/boundary_edges.h"
#include "convert/bricks.h"
#include "convert/segment_body.h"

namespace ovoxel {
namespace {

struct GridVoxel {  // a finished voxel
    int32_t cell[3];
    float dual[3];
    uint8_t flags[3];
    Creation creation;
};

struct Scratch {
    explicit Scratch(const BrickLayout& layout) : index(layout) {}
    BrickIndex index;
    std::vector<DualVoxel> voxels;
};

// A boundary edge passes a cell.
struct BoundaryCell {
    int32_t cell[3];
    int32_t edge;
};

// The cells along boundary edges, and which of them lie in each brick.
struct BoundaryCells {
    std::vector<Edge> edges;
    std::vector<BoundaryCell> cells;
    BrickLists byBrick;
};

BoundaryCells walkBoundary(const GridSpec& g, const MeshView& mesh, const BrickLayout& layout) {
    BoundaryCells out;
    out.edges = boundaryEdges(mesh, !g.published);
    const int64_t n = static_cast<int64_t>(out.edges.size());
    out.cells = gatherInOrder<BoundaryCell>(n, 1024, [&](int64_t begin, int64_t end, std::vector<BoundaryCell>& cells) {
        for (int64_t e = begin; e < end; ++e)
            walkBoundaryEdge(g, mesh.vertex(out.edges[e].a), mesh.vertex(out.edges[e].b), [&](const int32_t cell[3]) {
                cells.push_back({{cell[0], cell[1], cell[2]}, static_cast<int32_t>(e)});
            });
    });
    if (out.cells.size() > std::numeric_limits<uint32_t>::max()) throw std::length_error("boundary passes 2^32 cells");
    std::vector<KeyValue> pairs(out.cells.size());
    parallelFor(static_cast<int64_t>(pairs.size()), 65536, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const int32_t* c = out.cells[i].cell;
            pairs[i] = {layout.keyOfCell(c[0], c[1], c[2]), static_cast<uint32_t>(i)};
        }
    });
    out.byBrick = groupByBrick(std::move(pairs), layout);
    return out;
}

void addCrossings(const GridSpec& g, const MeshView& mesh, int64_t f, const CellBox& box, bool odd, Scratch& scratch,
                  std::vector<GridVoxel>& out) {
    const Triangle t = mesh.triangle(f);
    const FacePlane plane = facePlane(t);
    forEachCrossing(g, t, box, [&](int axis, int64_t row, int64_t column, int64_t k, float place) {
        for (int corner = 0; corner < 4; ++corner) {
            int32_t c[3];
            cellAround(axis, row, column, k, corner, c);
            if (!box.contains(c[0], c[1], c[2])) continue;
            const int32_t cell = scratch.index.cellOf(c[0], c[1], c[2]);
            int32_t i = scratch.index.find(cell);
            if (i < 0) {
                i = static_cast<int32_t>(out.size());
                scratch.index.set(cell, i);
                scratch.voxels.emplace_back();
                out.push_back({{c[0], c[1], c[2]}, {}, {}, creationAt(f, axis, row, column, corner)});
            }
            scratch.voxels[i].addCrossing(g, plane, axis, corner, place, cellCorner(g, c), odd);
        }
    });
}

template <class T>
void addFaces(const GridSpec& g, const MeshView& mesh, int64_t f, const CellBox& box, double weight, Scratch& scratch) {
    const Triangle t = mesh.triangle(f);
    const FacePlane plane = facePlane(t);
    const OverlapTest<T> test(g, t);
    test.forEach(box, [&](int64_t x, int64_t y, int64_t z) {
        const int32_t c[3] = {static_cast<int32_t>(x), static_cast<int32_t>(y), static_cast<int32_t>(z)};
        const int32_t i = scratch.index.find(scratch.index.cellOf(c[0], c[1], c[2]));
        if (i >= 0) scratch.voxels[i].addFace(g, plane, cellCorner(g, c), weight);
    });
}

}  // namespace

DualGrid meshToDualGrid(const GridSpec& g, const MeshView& mesh, const DualGridOptions& options) {
    const BrickLayout layout(g);
    const BrickLists triangles = trianglesByBrick(g, mesh, layout);
    BoundaryCells boundary;
    if (options.boundaryWeight > 0) boundary = walkBoundary(g, mesh, layout);

    std::vector<std::vector<GridVoxel>> bricks(triangles.keys.size());
    forEachBrick(
        triangles.size(), [&] { return Scratch(layout); },
        [&](Scratch& scratch, int64_t b) {
            std::vector<GridVoxel>& out = bricks[b];
            const CellBox box = layout.box(triangles.keys[b], g);
            const auto first = triangles.items.begin() + triangles.offsets[b];
            const auto last = triangles.items.begin() + triangles.offsets[b + 1];
            scratch.index.place(box);
            scratch.voxels.clear();
            for (auto f = first; f != last; ++f) addCrossings(g, mesh, *f, box, options.oddCrossings, scratch, out);
            if (out.empty()) return;
            if (options.faceWeight > 0)
                for (auto f = first; f != last; ++f) {
                    if (g.published)
                        addFaces<float>(g, mesh, *f, box, options.faceWeight, scratch);
                    else
                        addFaces<double>(g, mesh, *f, box, options.faceWeight, scratch);
                }
            const int64_t at = boundary.byBrick.find(triangles.keys[b]);
            if (at >= 0)
                for (int64_t i = boundary.byBrick.offsets[at]; i < boundary.byBrick.offsets[at + 1]; ++i) {
                    const BoundaryCell& c = boundary.cells[boundary.byBrick.items[i]];
                    const int32_t row = scratch.index.find(scratch.index.cellOf(c.cell[0], c.cell[1], c.cell[2]));
                    if (row < 0) continue;
                    const Edge& e = boundary.edges[c.edge];
                    scratch.voxels[row].addBoundary(mesh.vertex(e.a), mesh.vertex(e.b), cellCorner(g, c.cell),
                                                    options.boundaryWeight);
                }
            for (size_t i = 0; i < out.size(); ++i) {
                scratch.voxels[i].solve(g, cellCorner(g, out[i].cell), options.regularizationWeight, out[i].dual);
                std::copy_n(scratch.voxels[i].flags, 3, out[i].flags);
                scratch.index.clear(scratch.index.cellOf(out[i].cell[0], out[i].cell[1], out[i].cell[2]));
            }
        });

    const int64_t n = countVoxels(bricks);
    const size_t size = 3 * static_cast<size_t>(n);
    DualGrid grid{n, std::unique_ptr<int32_t[]>(new int32_t[size]), std::unique_ptr<float[]>(new float[size]),
                  std::unique_ptr<uint8_t[]>(new uint8_t[size])};
    storeInOrder(mesh.numFaces, bricks, [&](int64_t row, const GridVoxel& v) {
        std::copy_n(v.cell, 3, &grid.coords[3 * row]);
        std::copy_n(v.dual, 3, &grid.dualVertices[3 * row]);
        std::copy_n(v.flags, 3, &grid.intersected[3 * row]);
    });
    return grid;
}

}  // namespace ovoxel
