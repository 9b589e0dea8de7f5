// Charts as bitmaps, in the poses in which packing tries them.
#pragma once

#include <cstdint>
#include <vector>

#include "unwrap/bitmap.h"
#include "unwrap/flat_chart.h"

namespace ovoxel::unwrap {

constexpr int32_t kMostCells = 96;  // of a chart on the grid on which it is placed: larger ones take coarser cells

// A turn of a chart, and the rectangle that holds it.
struct Pose {
    double cosine = 1, sine = 0;
    Vec2 low, size;
};

struct Piece {
    std::vector<int32_t> rows;                  // of uv
    std::vector<std::pair<Vec2, Vec2>> border;  // the edges that one face of the chart has, the chart on their left
    std::vector<Pose> poses;                    // the smallest rectangle first
    double area = 0;
};

// A piece at one scale and pose: the texels that it touches and the padding around them.
struct Shape {
    Bitmap map;           // whole cells of 2^level texels
    int32_t level = 0;
    int64_t bits = 0;
    Runs turned[4];       // on cells, by quarter turns
};
using ShapeSet = std::vector<Shape>;  // one for each pose

// Large charts get more poses: 15 degrees apart (quarter turns come on top), small ones only the smallest rectangle.
std::vector<Piece> makePieces(const std::vector<Vec2>& uv, const std::vector<int32_t>& corner,
                              const std::vector<int32_t>& label, int32_t numCharts, bool onePose);

// Texels of the rectangle with its padding; false if it is larger than the texture.
bool extent(const Pose& pose, double scale, int32_t padding, int32_t side, int32_t& width, int32_t& height);

// Where a point lies in its own rectangle, in texels; centred there, so that turns keep it off texel borders.
Vec2 inRectangle(const Pose& pose, const Vec2& uv, double scale, int32_t padding);

// The same point after quarter turns of the rectangle, filled up to whole cells.
Vec2 turned(const Pose& pose, const Vec2& p, double scale, int32_t padding, int32_t mostCells, int32_t turns);

// Bitmaps in all poses that fit into the texture; false if none does.
bool makeShapes(const Piece& piece, double scale, int32_t padding, int32_t side, ShapeSet& shapes);

}  // namespace ovoxel::unwrap
