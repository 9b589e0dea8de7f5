// First-hit rendering of axis-aligned boxes on CPU threads and CUDA: each box offers itself to the pixels it may cover,
// each pixel keeps the smallest key. The same picture on both, bit for bit, in any order of execution.
#pragma once

#include <cstdint>

#include "common/device.h"
#include "raster/voxel_render_body.h"

namespace ovoxel {

// index [H, W]: row of the box seen, -1 none; depth [H, W]: camera depth where the ray enters it (at least near).
void renderVoxels(Workspace& workspace, const VoxelScene& scene, int32_t* index, float* depth);
void renderVoxelsOnDevice(Workspace& workspace, const VoxelScene& scene, int32_t* index, float* depth);

}  // namespace ovoxel
