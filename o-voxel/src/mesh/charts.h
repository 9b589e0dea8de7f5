// Cutting a mesh into charts that project onto a plane without overlap.
#pragma once

#include <cstdint>
#include <vector>

#include "mesh/vec3.h"

namespace ovoxel::mesh {

struct ChartOptions {
    double maxConeHalfAngle = 0.9;     // radians; faces of a chart lie within this angle of its axis
    double smallConeHalfAngle = 1.25;  // the same for absorbing charts below smallArea
    double creaseAngle = 1.0;          // radians; charts do not grow across edges sharper than this
    double roundness = 0.02;           // weight of perimeter^2 / (4 pi area) against radians of cone angle
    double areaWeight = 0.5;           // weight of the share of the total area: lets charts grow evenly
    double smallArea = 0.0;            // absolute area below which a chart is merged into a neighbour
};

struct Charts {
    std::vector<int32_t> label;  // [F] chart of each face, dense, numbered by smallest face
    std::vector<Vec3> axis;      // [K] unit projection direction
};

// pairs [2 * m]: faces joined by an edge, with its length. Agglomerative clustering on the face graph with a heap: the
// cheapest pair of charts merges while the cone that encloses both their normal cones stays within the limit. Then
// charts whose projection overlaps itself are cut. O(F log F); deterministic.
Charts clusterCharts(const std::vector<Vec3>& vertices, const std::vector<int32_t>& faces, const int64_t* pairs,
                     const double* lengths, int64_t m, const ChartOptions& options);

}  // namespace ovoxel::mesh
