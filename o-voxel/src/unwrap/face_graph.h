// Which faces meet at which edges, and the normals, areas and edge lengths that unwrapping needs.
#pragma once

#include <cstdint>
#include <vector>

#include "mesh/vec3.h"

namespace ovoxel::unwrap {

using mesh::Vec3;

// Half-edge 3 f + k runs from corner k of face f to corner k + 1.
inline int64_t nextCorner(int64_t h) { return h % 3 == 2 ? h - 2 : h + 1; }

struct FaceGraph {
    std::vector<int32_t> twin;    // [3F] the half-edge on the other side, -1 at borders
    std::vector<double> length;   // [3F]
    std::vector<Vec3> normal;     // [F] unit; zero for a face without area
    std::vector<double> area;     // [F]
    double totalArea = 0;

    int64_t numFaces() const { return static_cast<int64_t>(area.size()); }
};

// Half-edges of opposite direction on one edge become twins, by vertex index first and then, for what is left over, by
// exact position, so that meshes with split vertices hold together. Where more than two faces meet, those with the most
// similar normals are paired: every half-edge has at most one twin, whatever the input. O(F).
FaceGraph buildFaceGraph(const std::vector<Vec3>& vertices, const std::vector<int32_t>& faces);

// Face normals averaged over neighbours (by area, and by how alike they lean up to `limit` radians), `passes` times: voxel
// staircase and noise go, creases stay. S. Fleishman et al., Bilateral Mesh Denoising, 2003.
std::vector<Vec3> smoothNormals(const FaceGraph& graph, int passes, double limit);

}  // namespace ovoxel::unwrap
