// Flexible dual grid -> triangle mesh on CPU threads and CUDA; the arithmetic is in dual_mesh_body.h.
//
// Inference form: vertices [n, 3], one for each voxel, and two triangles a quad. Training form: one more vertex a quad,
// its centre, and four triangles; what the backward pass needs is kept. Quads are in row-major order over (voxel, axis).
#pragma once

#include <cstdint>
#include <memory>

#include "common/device.h"
#include "dualmesh/dual_mesh_body.h"

namespace ovoxel {

// Memory of a result; the owner decides where it comes from (arrays of the host, or a workspace).
template <class T>
struct DualMesh {
    int64_t numQuads = 0;
    T* vertices = nullptr;          // [n, 3], training form [n + numQuads, 3]
    int32_t* triangles = nullptr;   // [2 numQuads, 3], training form [4 numQuads, 3]
    // Training form only, for the gradients.
    int32_t* quads = nullptr;       // [numQuads, 4] rows
    uint32_t* first = nullptr;      // [n] number of the voxel's first quad
    uint8_t* complete = nullptr;    // [n] bit a: the voxel owns the quad of axis a
    VoxelTable::Slot* slots = nullptr; // [tableCapacity(n)]
};

// Both throw std::invalid_argument if a row of coords repeats or lies outside the grid, and take fewer than 2^29 rows.
// Memory comes from the workspace; arrays may be longer than their content. `split` is not used by the training form,
// which needs weights.
template <class T>
DualMesh<T> dualMesh(Workspace& workspace, const DualGridView<T>& grid, Split split, bool train);
template <class T>
DualMesh<T> dualMeshOnDevice(Workspace& workspace, const DualGridView<T>& grid, Split split, bool train);

// Gradients of the training form: gradVertices [n + numQuads, 3] -> gradLocal [n, 3], gradWeight [n].
template <class T>
void dualMeshBackward(Workspace& workspace, const DualGridView<T>& grid, const DualMesh<T>& mesh, const T* gradVertices,
                      T* gradLocal, T* gradWeight);
template <class T>
void dualMeshBackwardOnDevice(Workspace& workspace, const DualGridView<T>& grid, const DualMesh<T>& mesh,
                              const T* gradVertices, T* gradLocal, T* gradWeight);

constexpr int64_t kMaxDualVoxels = int64_t{1} << 29;  // rows, quads and corners then fit 32 bits

}  // namespace ovoxel
