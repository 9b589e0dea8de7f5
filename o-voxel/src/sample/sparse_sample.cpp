#include "sample/sparse_sample.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/parallel.h"

namespace ovoxel {
namespace {

constexpr int64_t kGrain = 4096;

// Corners of one query; returns how many there are (1 or 8).
int corners(const ColumnIndex& voxels, const SparseShape& shape, int64_t batch, const float* q,
            const SampleOptions& options, int32_t (&index)[8], float (&weight)[8]) {
    const float size[3] = {static_cast<float>(shape.sizeX), static_cast<float>(shape.sizeY),
                           static_cast<float>(shape.sizeZ)};
    const int count = options.nearest ? 1 : 8;
    std::fill(index, index + count, -1);
    std::fill(weight, weight + count, 0.0f);
    for (int axis = 0; axis < 3; ++axis)
        if (!(q[axis] > -1.0f && q[axis] < size[axis] + 1.0f)) return count;  // false for NaN too
    if (options.nearest) {
        int64_t at[3];
        for (int axis = 0; axis < 3; ++axis)
            at[axis] = static_cast<int64_t>(options.truncate ? std::trunc(q[axis]) : std::floor(q[axis]));
        int32_t unused;
        voxels.find2(batch, at[0], at[1], at[2], index[0], unused);
        weight[0] = index[0] >= 0 ? 1.0f : 0.0f;
        return count;
    }
    int64_t base[3];
    float w[3][2];
    for (int axis = 0; axis < 3; ++axis) {
        const float floor = std::floor(q[axis] - 0.5f);
        base[axis] = static_cast<int64_t>(floor);
        for (int bit = 0; bit < 2; ++bit) w[axis][bit] = 1.0f - std::fabs(q[axis] - (floor + bit) - 0.5f);
    }
    float sum = 0;
    for (int y = 0; y < 2; ++y)
        for (int x = 0; x < 2; ++x)
            voxels.find2(batch, base[0] + x, base[1] + y, base[2], index[x + 2 * y], index[x + 2 * y + 4]);
    for (int corner = 0; corner < 8; ++corner) {
        if (index[corner] < 0) continue;
        weight[corner] = w[0][corner & 1] * w[1][corner >> 1 & 1] * w[2][corner >> 2];
        sum += weight[corner];
    }
    if (options.normalize) {
        sum = std::max(sum, 1e-12f);
        for (float& value : weight) value /= sum;
    }
    return count;
}

}  // namespace

ColumnIndex::ColumnIndex(const int32_t* coords, int64_t numVoxels, const SparseShape& shape) : shape_(shape) {
    const int64_t columns = shape.batches * shape.sizeX * shape.sizeY;
    start_.assign(columns + 1, 0);
    const auto column = [&](const int32_t* c) -> int64_t {
        const bool inside = c[0] >= 0 && c[0] < shape.batches && c[1] >= 0 && c[1] < shape.sizeX && c[2] >= 0 &&
                            c[2] < shape.sizeY && c[3] >= 0 && c[3] < shape.sizeZ;
        return inside ? (c[0] * shape.sizeX + c[1]) * shape.sizeY + c[2] : -1;
    };
    for (int64_t i = 0; i < numVoxels; ++i) {
        const int64_t k = column(coords + 4 * i);
        if (k >= 0) ++start_[k + 1];
    }
    std::partial_sum(start_.begin(), start_.end(), start_.begin());
    entries_.resize(start_[columns]);
    std::vector<int32_t> cursor(start_.begin(), start_.end() - 1);
    for (int64_t i = 0; i < numVoxels; ++i) {
        const int64_t k = column(coords + 4 * i);
        if (k >= 0) entries_[cursor[k]++] = {coords[4 * i + 3], static_cast<int32_t>(i)};
    }
    parallelFor(columns, 1 << 14, [&](int64_t begin, int64_t end) {
        const auto before = [](const Entry& a, const Entry& b) { return a.z != b.z ? a.z < b.z : a.row < b.row; };
        for (int64_t k = begin; k < end; ++k)
            if (start_[k + 1] - start_[k] > 1)
                std::sort(entries_.begin() + start_[k], entries_.begin() + start_[k + 1], before);
    });
}

void ColumnIndex::find2(int64_t batch, int64_t x, int64_t y, int64_t z, int32_t& low, int32_t& high) const {
    low = high = -1;
    if (x < 0 || x >= shape_.sizeX || y < 0 || y >= shape_.sizeY) return;
    const int64_t k = (batch * shape_.sizeX + x) * shape_.sizeY + y;
    const Entry* last = entries_.data() + start_[k + 1];
    const Entry* at = std::lower_bound(entries_.data() + start_[k], last, z,
                                       [](const Entry& entry, int64_t value) { return entry.z < value; });
    if (at != last && at->z == z) low = at->row;
    while (at != last && at->z <= z) ++at;
    if (at != last && at->z == z + 1) high = at->row;
}

void locateSamples(const ColumnIndex& voxels, const SparseShape& shape, const float* points, int64_t pointsPerBatch,
                   const SampleOptions& options, int32_t* index, float* weight) {
    parallelFor(shape.batches * pointsPerBatch, kGrain, [&](int64_t begin, int64_t end) {
        int32_t i[8];
        float w[8];
        for (int64_t m = begin; m < end; ++m) {
            const int count = corners(voxels, shape, m / pointsPerBatch, points + 3 * m, options, i, w);
            std::copy(i, i + count, index + m * count);
            std::copy(w, w + count, weight + m * count);
        }
    });
}

void sampleFeatures(const ColumnIndex& voxels, const SparseShape& shape, const float* points, int64_t pointsPerBatch,
                    const SampleOptions& options, const float* feats, int64_t channels, float* out) {
    parallelFor(shape.batches * pointsPerBatch, kGrain, [&](int64_t begin, int64_t end) {
        int32_t index[8];
        float weight[8];
        for (int64_t m = begin; m < end; ++m) {
            const int count = corners(voxels, shape, m / pointsPerBatch, points + 3 * m, options, index, weight);
            float* row = out + m * channels;
            std::fill(row, row + channels, 0.0f);
            for (int k = 0; k < count; ++k) {
                if (index[k] < 0) continue;
                const float* source = feats + static_cast<int64_t>(index[k]) * channels;
                for (int64_t c = 0; c < channels; ++c) row[c] += weight[k] * source[c];
            }
        }
    });
}

}  // namespace ovoxel
