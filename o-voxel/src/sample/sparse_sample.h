// Trilinear and nearest sampling of sparse voxels on CPU threads.
#pragma once

#include <cstdint>
#include <vector>

namespace ovoxel {

struct SparseShape {
    int64_t batches, sizeX, sizeY, sizeZ;
};

// Look-up of voxel rows: columns along z, addressed densely by (batch, x, y); rows of a column ascend in z. Surfaces
// put few voxels in a column, so a look-up is one table read and a short search.
class ColumnIndex {
public:
    // coords [N, 4] (batch, x, y, z). Voxels outside `shape` are never found; of duplicates the first row is.
    ColumnIndex(const int32_t* coords, int64_t numVoxels, const SparseShape& shape);

    // Rows of (batch, x, y, z) and (batch, x, y, z + 1), -1 where absent.
    void find2(int64_t batch, int64_t x, int64_t y, int64_t z, int32_t& low, int32_t& high) const;

private:
    struct Entry {
        int32_t z, row;
    };

    SparseShape shape_;
    std::vector<int32_t> start_;   // [columns + 1]
    std::vector<Entry> entries_;   // sorted by (column, z, row)
};

struct SampleOptions {
    bool nearest;    // the voxel that holds the point; else the eight around it
    bool truncate;   // nearest only: round toward zero instead of down
    bool normalize;  // divide by the sum of the weights that are there
};

// Rows and weights of every query: points [B, L, 3] in voxel units, index and weight [B * L, K], K = 1 or 8 (corner
// bit 0 = x, bit 1 = y, bit 2 = z); absent corners have index -1 and weight 0.
void locateSamples(const ColumnIndex& voxels, const SparseShape& shape, const float* points, int64_t pointsPerBatch,
                   const SampleOptions& options, int32_t* index, float* weight);

// out [B * L, C] = sum of weight * feats row, feats [N, C].
void sampleFeatures(const ColumnIndex& voxels, const SparseShape& shape, const float* points, int64_t pointsPerBatch,
                    const SampleOptions& options, const float* feats, int64_t channels, float* out);

}  // namespace ovoxel
