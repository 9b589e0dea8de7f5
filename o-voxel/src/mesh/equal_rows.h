// For every row of a table of words, the first row that is equal to it.
#pragma once

#include <cstdint>

namespace ovoxel::mesh {

// words [n * width], n < 2^32 - 1; first [n].
void firstEqualRows(const int32_t* words, int64_t n, int64_t width, int64_t* first);

}  // namespace ovoxel::mesh
