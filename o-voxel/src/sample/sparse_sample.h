// Trilinear and nearest sampling of sparse voxels and its gradient, on CPU threads and CUDA.
//
// The look-up table (common/voxel_table.h) is made once and may be used by many calls. Sums run over the corners in
// order, in float32, the same on both targets; so do the sums of the gradient, over (query, corner) in ascending order.
#pragma once

#include <cstdint>

#include "common/device.h"
#include "sample/sample_body.h"

namespace ovoxel {

// Number formats of features on a GPU; the CPU takes float32.
enum class Element { kFloat32, kFloat16, kBfloat16 };

struct SampleQueries {
    Extent shape;
    SampleOptions options;
    const float* points;  // [batches * perBatch, 3], voxel units
    int64_t perBatch;
    OVOXEL_HD int64_t count() const { return shape.batches * perBatch; }
};

// Many look-ups to one table: memory buys fewer reads (on an H200 a quarter of the time against 2 slots a voxel).
inline int64_t indexCapacity(int64_t n) { return VoxelTable::capacityFor(n, 4); }

// Slots of a table of coords [n, 4], for a VoxelTable of indexCapacity(n). Rows outside the shape are left
// out; of equal rows the first is found.
VoxelTable::Slot* buildTable(Workspace& workspace, const int32_t* coords, int64_t n, const Extent& shape);
VoxelTable::Slot* buildTableOnDevice(Workspace& workspace, const int32_t* coords, int64_t n, const Extent& shape);

// out [M, channels] = weighted sum of rows of feats [n, channels].
void sampleFeatures(const VoxelTable& table, const SampleQueries& queries, const float* feats, int64_t channels,
                    float* out);
void sampleFeaturesOnDevice(Workspace& workspace, const VoxelTable& table, const SampleQueries& queries, Element element,
                            const void* feats, int64_t channels, void* out);

// gradFeats [n, channels] float32 from gradOut [M, channels]. On a GPU `ordered` sorts the contributions, so that sums
// have one order; else they are added as they come (atomics).
void sampleBackward(Workspace& workspace, const VoxelTable& table, int64_t n, const SampleQueries& queries,
                    const float* gradOut, int64_t channels, float* gradFeats);
void sampleBackwardOnDevice(Workspace& workspace, const VoxelTable& table, int64_t n, const SampleQueries& queries,
                            Element element, const void* gradOut, int64_t channels, bool ordered, float* gradFeats);

constexpr int64_t kQueriesAtOnce = int64_t{1} << 22;  // of an ordered gradient: bounds its memory to about 1 GB

}  // namespace ovoxel
