// Sparse voxel octrees as pre-order bytes.
#pragma once

#include <cstdint>
#include <vector>

namespace ovoxel {

// Leaf codes, ascending, of an octree of `depth` levels: one byte per internal node in depth-first pre-order, bit j set
// where child j (z-order digit) is occupied. Throws std::invalid_argument if the bytes end early, are too many, hold a
// node without children, or give more than `maxLeaves` leaves.
std::vector<int32_t> decodeOctree(const uint8_t* data, int64_t size, int depth, int64_t maxLeaves);

}  // namespace ovoxel
