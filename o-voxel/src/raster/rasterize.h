// Triangle rasteriser on CPU threads: clip space in, (u, v, z/w, id) per pixel out.
//
// Coverage is decided on vertices snapped to 1/256 pixel with 64-bit integer edge functions, so it is exact: of the
// triangles around a shared edge or vertex exactly one owns a sample (left edges and the horizontal edge on the
// low-row side are inclusive). Barycentrics and depth come from the unsnapped positions in double.
// Based on: Pineda, "A Parallel Algorithm for Polygon Rasterization", 1988 (edge functions); Olano and Greer,
// "Triangle Scan Conversion using 2D Homogeneous Coordinates", 1997 (barycentrics without a division by w).
#pragma once

#include <cstdint>

namespace ovoxel {

struct RasterInput {
    const float* pos;      // [V, 4] clip space
    int64_t numVertices;
    const int32_t* tri;    // [F, 3]
    int64_t numTriangles;
    int32_t height;
    int32_t width;
    const float* peel;     // [H, W]: only fragments with z/w strictly greater are kept; null: all
};

// Writes out [H, W, 4] = (u, v, z/w, index + 1), zeros where nothing is drawn. The nearest z/w (as float32) wins, of
// equal ones the larger index, whatever the number of threads.
void rasterizeTriangles(const RasterInput& input, float* out);

}  // namespace ovoxel
