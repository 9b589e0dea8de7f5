// Figures of an unwrapping.
#pragma once

#include <cstdint>
#include <vector>

#include "unwrap/flat_chart.h"

namespace ovoxel::unwrap {

struct Quality {
    double thinCharts = 0;   // share of the charts whose mean width 2 area / perimeter is below the limit
    double thinArea = 0;     // share of the flat area in them
    double area = 0;         // flat
    double stretch = 1;      // L2, over all faces; 1 for an isometry
    double densityLow = 1, densityHigh = 1;  // sqrt(flat / space area) over its mean: 1st, 99th percentile by area
};

// `flat` [W] in texels, `corner` [3F] rows of it; faces without area count in `area` only. Sums run over blocks of fixed
// size, so that they do not depend on the number of threads; percentiles are those of bins 0.2 % wide.
Quality measure(const std::vector<Vec3>& vertices, const std::vector<int32_t>& faces, const std::vector<Vec2>& flat,
                const std::vector<int32_t>& corner, const std::vector<int32_t>& label, int32_t numCharts,
                double thinWidth);

}  // namespace ovoxel::unwrap
