// Boundary edges of a triangle mesh on a GPU. For .cu files only.
#pragma once

#include "common/device.h"
#include "convert/grid_body.h"

namespace ovoxel {

struct DeviceEdges {
    int64_t count;
    int32_t* vertices;  // [count, 2] in ascending order, the smaller index first
};

// The same edges as boundaryEdges of the CPU path; `weld`: see there.
DeviceEdges boundaryEdgesOnDevice(Workspace& workspace, const MeshView& mesh, bool weld);

}  // namespace ovoxel
