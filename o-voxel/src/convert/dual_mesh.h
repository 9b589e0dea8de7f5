// Flexible dual grid -> quads: which four voxels surround each crossed edge.
#pragma once

#include <cstdint>
#include <vector>

namespace ovoxel {

// Rows of the four voxels of each complete quad, [L, 4], row-major over (voxel, axis). A quad is dropped if one of its
// voxels is absent. Throws std::invalid_argument if a row of coords repeats or lies outside the grid.
std::vector<int32_t> dualQuads(const int32_t* coords, const bool* intersected, int64_t numVoxels,
                               const int64_t gridSize[3]);

}  // namespace ovoxel
