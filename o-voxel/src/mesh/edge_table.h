// All edges of a triangle mesh with the face sides that use them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace ovoxel::mesh {

struct EdgeTable {
    std::vector<int64_t> edges;       // [2 * E] (smaller, larger), ascending
    std::vector<int64_t> counts;      // [E] faces
    std::unique_ptr<int64_t[]> sides; // [3 * F] face sides grouped by edge, ascending inside a group
    std::vector<int64_t> offsets;     // [E + 1] into sides
};

// faces [3 * n], indices in [0, 2^31), n <= 2^30; side k of a face runs from corner k to corner k + 1.
EdgeTable buildEdges(const int64_t* faces, int64_t n);

}  // namespace ovoxel::mesh
