// Packing of flat charts into a square texture.
#pragma once

#include <cstdint>
#include <vector>

#include "unwrap/deadline.h"
#include "unwrap/flat_chart.h"

namespace ovoxel::unwrap {

struct PackOptions {
    int32_t resolution = 1024;  // texels per side
    int32_t padding = 2;        // texels around each chart that belong to it
    bool rectangles = false;    // shelves of rectangles: O(K log K), a looser fit
};

struct Packing {
    bool fits = false;
    bool bitmaps = false;   // as asked; rectangles once the deadline has passed
    double scale = 0;       // texels per unit of length
    std::vector<Vec2> uv;   // [W] in texels
};

// Scales all charts alike, turns each, and moves them so that no two touch one texel or come closer than 2 * padding
// texels; the largest scale found is taken. `uv` [W], `corner` [3F] rows of it, `label` [F] charts numbered [0, K).
// Charts are rasterised conservatively at the texture's own resolution and placed, large ones first, where they end
// lowest, in quarter turns and, large ones, in turns between; those over 96 texels on a grid of 2, 4, ... texels.
// Several orders are tried. The result does not depend on the number of threads unless the deadline passes.
Packing packCharts(const std::vector<Vec2>& uv, const std::vector<int32_t>& corner, const std::vector<int32_t>& label,
                   int32_t numCharts, const PackOptions& options, const Deadline& deadline);

}  // namespace ovoxel::unwrap
