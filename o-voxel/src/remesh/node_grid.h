// A dense grid of nodes, one bit a node: 64 nodes along z share a word. Words follow x, then y, then z.
//
// A cell is named by its lowest node, a grid edge by the node it starts at and the axis it runs along. Bit sets with a
// running count of their bits number their members without a search.
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace ovoxel::remesh {

using Word = uint64_t;

OVOXEL_HD inline int popcount(Word word) {
#ifdef __CUDA_ARCH__
    return __popcll(word);
#else
    return __builtin_popcountll(word);
#endif
}

OVOXEL_HD inline int lowestBit(Word word) {
#ifdef __CUDA_ARCH__
    return __ffsll(static_cast<long long>(word)) - 1;
#else
    return __builtin_ctzll(word);
#endif
}

struct NodeGrid {
    int64_t size[3];  // nodes along x, y, z

    OVOXEL_HD int64_t column() const { return (size[2] + 63) >> 6; }  // words along z
    OVOXEL_HD int64_t words() const { return size[0] * size[1] * column(); }
    OVOXEL_HD int64_t word(int64_t x, int64_t y, int64_t z) const { return (x * size[1] + y) * column() + (z >> 6); }
    OVOXEL_HD bool holds(int64_t x, int64_t y, int64_t z) const {
        return x >= 0 && x < size[0] && y >= 0 && y < size[1] && z >= 0 && z < size[2];
    }
    OVOXEL_HD bool test(const Word* bits, int64_t x, int64_t y, int64_t z) const {
        return bits[word(x, y, z)] >> (z & 63) & 1;
    }
    // Bits of a word that stand for nodes.
    OVOXEL_HD Word valid(int64_t zWord) const {
        const int64_t left = size[2] - 64 * zWord;
        return left >= 64 ? ~Word{0} : (Word{1} << left) - 1;
    }
};

// Place of a word in the grid.
struct WordAt {
    int64_t x, y, z;  // z counts words
    OVOXEL_HD WordAt(const NodeGrid& grid, int64_t word) {
        const int64_t column = grid.column();
        z = word % column;
        y = word / column % grid.size[1];
        x = word / column / grid.size[1];
    }
};

// The word at a place, 0 outside the grid.
OVOXEL_HD inline Word wordOr0(const NodeGrid& grid, const Word* bits, int64_t x, int64_t y, int64_t zWord) {
    if (x < 0 || x >= grid.size[0] || y < 0 || y >= grid.size[1] || zWord < 0 || zWord >= grid.column()) return 0;
    return bits[(x * grid.size[1] + y) * grid.column() + zWord];
}

// Bits of the nodes one above (z + 1), brought to the place of each node.
OVOXEL_HD inline Word above(const NodeGrid& grid, const Word* bits, int64_t x, int64_t y, int64_t zWord) {
    return wordOr0(grid, bits, x, y, zWord) >> 1 | wordOr0(grid, bits, x, y, zWord + 1) << 63;
}

OVOXEL_HD inline Word below(const NodeGrid& grid, const Word* bits, int64_t x, int64_t y, int64_t zWord) {
    return wordOr0(grid, bits, x, y, zWord) << 1 | wordOr0(grid, bits, x, y, zWord - 1) >> 63;
}

// Number of a member of a bit set: before[w] members lie in the words before w.
OVOXEL_HD inline int64_t rankOf(const Word* bits, const int32_t* before, int64_t word, int bit) {
    return before[word] + popcount(bits[word] & ((Word{1} << bit) - 1));
}

}  // namespace ovoxel::remesh
