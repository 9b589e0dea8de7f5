// Triangle mesh -> flexible dual grid.
#pragma once

#include <cstdint>
#include <memory>

#include "common/device.h"
#include "convert/dual_voxel_body.h"

namespace ovoxel {

struct DualGrid {
    int64_t count;
    std::unique_ptr<int32_t[]> coords;       // [N, 3], order of first creation
    std::unique_ptr<float[]> dualVertices;   // [N, 3] box-relative, mesh units
    std::unique_ptr<uint8_t[]> intersected;  // [N, 3] 0 or 1
};

// Vertices are box-relative; indices must be in range and coordinates finite (checked by the caller).
DualGrid meshToDualGrid(const GridSpec& g, const MeshView& mesh, const DualGridOptions& options);

struct DeviceDualGrid {  // the same in memory of the workspace
    int64_t count;
    int32_t* coords;
    float* dualVertices;
    uint8_t* intersected;
};

// The same on a GPU, bit for bit. The mesh is in device memory. Triangles are taken in chunks of at most `chunkWork`
// crossings and candidate cells (or of one triangle), which bounds the temporary memory.
DeviceDualGrid meshToDualGridOnDevice(Workspace& workspace, const GridSpec& g, const MeshView& mesh,
                                      const DualGridOptions& options, int64_t chunkWork);

}  // namespace ovoxel
