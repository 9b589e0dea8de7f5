// Arguments that both bindings of the conversions take.
#pragma once

#include <nanobind/nanobind.h>

#include <array>
#include <cstdint>

#include "convert/grid_body.h"

namespace ovoxel {

inline GridSpec makeGrid(const std::array<float, 3>& size, const std::array<int64_t, 3>& count, bool published) {
    GridSpec g;
    for (int a = 0; a < 3; ++a) {
        if (!(size[a] > 0) || count[a] < 1 || count[a] > (int64_t{1} << 20))
            throw nanobind::value_error("voxel_size must be positive and grid_size in [1, 2^20]");
        g.size[a] = static_cast<double>(size[a]);
        g.count[a] = count[a];
    }
    g.published = published;
    return g;
}

}  // namespace ovoxel
