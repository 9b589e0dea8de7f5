// Spreading of labels over a node grid along grid edges that nothing crosses: host and device bodies, a word at a time.
#pragma once

#include "remesh/node_grid.h"

namespace ovoxel::remesh {

struct FloodField {
    NodeGrid grid;
    const Word* walls;      // [3, words] edges that may not be passed
    const Word* closed[2];  // nodes that may not be entered; each may be null

    OVOXEL_HD Word open(const WordAt& at, int64_t word) const { return grid.valid(at.z) & passable(word); }
    // Nothing in the word can be labelled any more: most words, told without knowing where they lie.
    OVOXEL_HD bool done(const Word* labels, int64_t word) const { return (passable(word) & ~labels[word]) == 0; }

private:
    OVOXEL_HD Word passable(int64_t word) const {
        Word bits = ~Word{0};
        if (closed[0]) bits &= ~closed[0][word];
        if (closed[1]) bits &= ~closed[1][word];
        return bits;
    }
};

// What reaches a word from its six neighbours in one step. `label(dx, dy, dz)` gives label words around it.
template <class Label, class Wall>
OVOXEL_HD Word stepInto(Label&& label, Wall&& wall) {
    const Word own = label(0, 0, 0), wallZ = wall(2, 0, 0, 0);
    Word in = own;
    in |= label(-1, 0, 0) & ~wall(0, -1, 0, 0);
    in |= label(1, 0, 0) & ~wall(0, 0, 0, 0);
    in |= label(0, -1, 0) & ~wall(1, 0, -1, 0);
    in |= label(0, 1, 0) & ~wall(1, 0, 0, 0);
    in |= (own & ~wallZ) << 1 | (label(0, 0, -1) & ~wall(2, 0, 0, -1)) >> 63;
    in |= (own >> 1 | label(0, 0, 1) << 63) & ~wallZ;
    return in;
}

// Spreads along z inside a word as far as it goes.
OVOXEL_HD inline Word fillWord(Word label, Word open, Word wallZ) {
    Word up = label, pass = open & ~(wallZ << 1);  // a node is entered from below over the edge that starts there
    Word down = label, back = open & ~wallZ;
    for (int shift = 1; shift < 64; shift *= 2) {
        up |= pass & up << shift;
        pass &= pass << shift;
        down |= back & down >> shift;
        back &= back >> shift;
    }
    return up | down;
}

// The label word after one step, or after everything that it takes in has spread inside the word.
OVOXEL_HD inline Word spreadInto(const FloodField& field, const Word* labels, const WordAt& at, int64_t word, Word open,
                                 bool fill) {
    const NodeGrid& grid = field.grid;
    const int64_t words = grid.words();
    const Word in = stepInto(
        [&](int dx, int dy, int dz) { return wordOr0(grid, labels, at.x + dx, at.y + dy, at.z + dz); },
        [&](int axis, int dx, int dy, int dz) {
            return wordOr0(grid, field.walls + axis * words, at.x + dx, at.y + dy, at.z + dz);
        });
    const Word label = labels[word] | (in & open);
    return fill ? fillWord(label, open, field.walls[2 * words + word]) : label;
}

struct StepBody {
    FloodField field;
    const Word* labels;
    Word* out;
    OVOXEL_HD void operator()(int64_t word) const {
        if (field.done(labels, word)) {
            out[word] = labels[word];
            return;
        }
        const WordAt at(field.grid, word);
        out[word] = spreadInto(field, labels, at, word, field.open(at, word), false);
    }
};

// Adds the 26 neighbours of every node.
struct DilateBody {
    NodeGrid grid;
    const Word* bits;
    Word* out;
    OVOXEL_HD void operator()(int64_t word) const {
        const WordAt at(grid, word);
        Word sum = 0;
        for (int dx = -1; dx <= 1; ++dx)
            for (int dy = -1; dy <= 1; ++dy)
                sum |= wordOr0(grid, bits, at.x + dx, at.y + dy, at.z) | above(grid, bits, at.x + dx, at.y + dy, at.z) |
                       below(grid, bits, at.x + dx, at.y + dy, at.z);
        out[word] = sum & grid.valid(at.z);
    }
};

// Outside nodes at either end of a crossed edge whose other end is outside too: the two sides of an open sheet.
struct SheetNodesBody {
    NodeGrid grid;
    const Word* crossed;  // [3, words]
    const Word* outside;
    Word* out;
    OVOXEL_HD void operator()(int64_t word) const {
        const WordAt at(grid, word);
        const Word own = outside[word];
        Word sheet = 0;
        if (own) {
            const int64_t words = grid.words();
            const int step[2][2] = {{1, 0}, {0, 1}};
            for (int axis = 0; axis < 2; ++axis) {
                const Word* wall = crossed + axis * words;
                const int dx = step[axis][0], dy = step[axis][1];
                sheet |= wall[word] & wordOr0(grid, outside, at.x + dx, at.y + dy, at.z);
                sheet |= wordOr0(grid, wall, at.x - dx, at.y - dy, at.z) &
                         wordOr0(grid, outside, at.x - dx, at.y - dy, at.z);
            }
            const Word* wall = crossed + 2 * words;
            sheet |= wall[word] & above(grid, outside, at.x, at.y, at.z);
            sheet |= below(grid, wall, at.x, at.y, at.z) & below(grid, outside, at.x, at.y, at.z);
        }
        out[word] = sheet & own;
    }
};

struct PopcountBody {
    const Word* bits;
    int32_t* out;
    OVOXEL_HD void operator()(int64_t word) const { out[word] = popcount(bits[word]); }
};

}  // namespace ovoxel::remesh
