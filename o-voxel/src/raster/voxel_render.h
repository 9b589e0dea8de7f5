// First-hit rendering of axis-aligned boxes on CPU threads.
#pragma once

#include <cstdint>

namespace ovoxel {

struct VoxelCamera {
    double origin[3];       // world position of the camera
    double rayX[3];         // world ray of pixel (px, py): rayZ + (px + 0.5) rayX + (py + 0.5) rayY,
    double rayY[3];         //   scaled so that the ray parameter is the camera depth
    double rayZ[3];
    double worldToCam[12];  // [3, 4] row-major
    double pixel[6];        // column = p0 x/z + p1 y/z + p2, row = p3 x/z + p4 y/z + p5
    double near, far;       // interval of camera depth that counts
    double cullDepth;       // boxes whose centre is not deeper are left out
    bool orderByCentre;     // first hit by depth of box centre (published); else by depth of entry
};

// index [H, W]: row of the box seen, -1 none; depth [H, W]: camera depth where the ray enters it (at least near).
void renderVoxels(const float* position, int64_t numVoxels, const double (&half)[3], const VoxelCamera& camera,
                  int32_t height, int32_t width, int32_t* index, float* depth);

}  // namespace ovoxel
