// Packing of chart rectangles into a square texture.
#pragma once

#include <cstdint>
#include <vector>

namespace ovoxel::mesh {

struct Packing {
    double scale = 0;               // texels per unit of the input sizes
    std::vector<int32_t> x, y;      // [K] lower corner of each rectangle in texels, padding included
    std::vector<uint8_t> rotated;   // [K] 1: width and height exchanged
    bool fits = false;
};

// sizes [2 * K]: width and height of each chart. Each takes ceil(scale * size) + 1 texels plus `padding` on every side.
// The largest scale at which a skyline (bottom-left, tallest first) holds all of them is found by bisection.
// J. Jylanki, A Thousand Ways to Pack the Bin, 2010.
Packing packCharts(const double* sizes, int64_t count, int32_t resolution, int32_t padding);

}  // namespace ovoxel::mesh
