// Triangle mesh -> flexible dual grid.
#pragma once

#include <cstdint>
#include <vector>

#include "convert/surface_voxels.h"

namespace ovoxel {

struct DualGridOptions {
    double faceWeight, boundaryWeight, regularizationWeight;
    bool oddCrossings;  // a flag is set by an odd number of crossings, else by any
};

struct DualGrid {
    std::vector<int32_t> coords;       // [N, 3], order of first creation
    std::vector<float> dualVertices;   // [N, 3] box-relative, mesh units
    std::vector<uint8_t> intersected;  // [N, 3] 0 or 1
};

// Vertices are box-relative; indices must be in range and coordinates finite (checked by the caller).
DualGrid meshToDualGrid(const GridSpec& g, const MeshView& mesh, const DualGridOptions& options);

}  // namespace ovoxel
