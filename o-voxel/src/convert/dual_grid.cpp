#include "convert/dual_grid.h"

#include "convert/boundary_edges.h"
#include "convert/quadric_body.h"
#include "convert/segment_body.h"

namespace ovoxel {
namespace {


Vec3 vertexAt(const MeshView& mesh, int32_t v) {
    const float* p = mesh.vertices + 3 * int64_t{v};
    return {{p[0], p[1], p[2]}};
}

std::vector<Vec3> unitNormals(const MeshView& mesh) {
    std::vector<Vec3> normals(static_cast<size_t>(mesh.numFaces));
    parallelFor(mesh.numFaces, 8192, [&](int64_t begin, int64_t end) {
        for (int64_t f = begin; f < end; ++f) {
            const Triangle t = mesh.triangle(f);
            normals[f] = normalized(cross(t.p[1] - t.p[0], t.p[2] - t.p[1]));
        }
    });
    return normals;
}

// Existing voxels along each boundary edge.
std::vector<Touch> findBoundaryVoxels(const GridSpec& g, const MeshView& mesh, const std::vector<Edge>& edges,
                                      const VoxelIndex& index) {
    const int64_t n = static_cast<int64_t>(edges.size());
    return gatherChunks<Touch>(n, 1024, [&](int64_t begin, int64_t end, std::vector<Touch>& out) {
        for (int64_t e = begin; e < end; ++e) {
            Vec3 from = vertexAt(mesh, edges[e].a), to = vertexAt(mesh, edges[e].b);
            if (!clipSegment(g, from, to)) continue;
            walkSegment(g, from, to, [&](int64_t x, int64_t y, int64_t z) {
                if (x < 0 || y < 0 || z < 0 || x >= g.count[0] || y >= g.count[1] || z >= g.count[2]) return;
                const int32_t row = index.find(x, y, z);
                if (row >= 0) out.push_back({row, static_cast<int32_t>(e)});
            });
        }
    });
}

}  // namespace

DualGrid meshToDualGrid(const GridSpec& g, const MeshView& mesh, const DualGridOptions& options) {
    const std::vector<Crossing> crossings = findCrossings(g, mesh);
    VoxelIndex index(g);
    const std::vector<int32_t> crossingRows = insertCrossings(crossings, index);
    const int64_t n = index.size();

    DualGrid out;
    out.coords = index.coords();
    out.dualVertices.resize(static_cast<size_t>(3 * n));
    out.intersected.assign(static_cast<size_t>(3 * n), 0);
    for (size_t i = 0; i < crossings.size(); ++i) {
        uint8_t& flag = out.intersected[3 * int64_t{crossingRows[4 * i]} + crossings[i].axis];
        flag = options.oddCrossings ? flag ^ 1 : 1;
    }

    const RowLists byCrossing = groupByRow(
        n, static_cast<int64_t>(crossingRows.size()), [&](int64_t i) { return crossingRows[i]; },
        [](int64_t i) { return i; });
    RowLists byFace, byEdge;
    std::vector<Edge> edges;
    if (options.faceWeight > 0)
        byFace = groupTouches(
            n, g.published ? findOverlaps<float>(g, mesh, index) : findOverlaps<double>(g, mesh, index));
    if (options.boundaryWeight > 0) {
        edges = boundaryEdges(mesh, !g.published);
        byEdge = groupTouches(n, findBoundaryVoxels(g, mesh, edges, index));
    }
    const std::vector<Vec3> normals = unitNormals(mesh);
    const double faceWeight = g.published ? 1.0 : options.faceWeight;

    parallelFor(n, 1024, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            Vec3 corner;
            for (int a = 0; a < 3; ++a) corner[a] = out.coords[3 * row + a] * g.size[a];
            Quadric q;
            auto addFace = [&](int64_t f, double weight) {
                q.addPlane(normals[f], vertexAt(mesh, mesh.faces[3 * f]) - corner, weight);
            };
            Vec3 mean = {{0, 0, 0}};
            const int64_t count = byCrossing.offsets[row + 1] - byCrossing.offsets[row];
            for (int64_t i = byCrossing.offsets[row]; i < byCrossing.offsets[row + 1]; ++i) {
                const int64_t event = byCrossing.items[i];
                const Crossing& c = crossings[event >> 2];
                addFace(c.triangle, 1.0);
                const int u = (c.axis + 1) % 3, w = (c.axis + 2) % 3;
                mean[u] += (event & 2) ? 0.0 : g.size[u];  // the crossed edge is on the upper side of the lower voxels
                mean[w] += (event & 1) ? 0.0 : g.size[w];
                mean[c.axis] += static_cast<double>(c.at) * g.size[c.axis];
            }
            mean = mean * (1.0 / static_cast<double>(count));
            if (options.faceWeight > 0)
                for (int64_t i = byFace.offsets[row]; i < byFace.offsets[row + 1]; ++i)
                    addFace(byFace.items[i], faceWeight);
            if (options.boundaryWeight > 0)
                for (int64_t i = byEdge.offsets[row]; i < byEdge.offsets[row + 1]; ++i) {
                    const Edge& e = edges[byEdge.items[i]];
                    const Vec3 from = vertexAt(mesh, e.a);
                    q.addLine(normalized(vertexAt(mesh, e.b) - from), from - corner, options.boundaryWeight);
                }
            if (options.regularizationWeight > 0) q.addPoint(mean, options.regularizationWeight * static_cast<double>(count));
            double x[3];
            minimizeInBox(q, mean, g.size, x);
            for (int a = 0; a < 3; ++a) out.dualVertices[3 * row + a] = static_cast<float>(corner[a] + x[a]);
        }
    });
    return out;
}

}  // namespace ovoxel
