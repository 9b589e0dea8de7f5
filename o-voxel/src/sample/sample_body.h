// Corners and weights of one query point; shared by CPU threads and CUDA.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"
#include "common/voxel_table.h"

namespace ovoxel {

struct SampleOptions {
    bool nearest;    // the voxel that holds the point; else the eight around it
    bool truncate;   // nearest only: round toward zero instead of down
    bool normalize;  // divide by the sum of the weights that are there
};

// A query in voxel units, ready for its corners: bit 0 = x, bit 1 = y, bit 2 = z.
struct SampleQuery {
    bool usable;  // near enough to the grid and finite
    int32_t batch, base[3];
    float at[3];

    OVOXEL_HD Cell cell(int corner) const {
        return {batch, base[0] + (corner & 1), base[1] + (corner >> 1 & 1), base[2] + (corner >> 2)};
    }
    OVOXEL_HD float weight(int corner) const {
        float product = 1.0f;
        for (int axis = 0; axis < 3; ++axis) {
            const float centre = static_cast<float>(base[axis]) + static_cast<float>(corner >> axis & 1);
            product *= 1.0f - fabsf(at[axis] - centre - 0.5f);
        }
        return product;
    }
};

OVOXEL_HD inline SampleQuery makeQuery(const Extent& shape, const SampleOptions& options, int64_t batch,
                                       const float* q) {
    const float size[3] = {static_cast<float>(shape.x), static_cast<float>(shape.y),
                           static_cast<float>(shape.z)};
    SampleQuery query{true, static_cast<int32_t>(batch), {0, 0, 0}, {q[0], q[1], q[2]}};
    for (int axis = 0; axis < 3; ++axis) {
        if (!(q[axis] > -1.0f && q[axis] < size[axis] + 1.0f)) {  // true for NaN too
            query.usable = false;
            continue;
        }
        const float low = options.nearest ? (options.truncate ? truncf(q[axis]) : floorf(q[axis])) : floorf(q[axis] - 0.5f);
        query.base[axis] = static_cast<int32_t>(low);
    }
    return query;
}

}  // namespace ovoxel
