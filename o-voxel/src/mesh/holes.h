// Boundary loops of a triangle mesh and triangulations that close them.
#pragma once

#include <cstdint>
#include <vector>

namespace ovoxel::mesh {

struct BoundaryLoops {
    std::vector<int64_t> vertices;  // of all loops, in cyclic order
    std::vector<int64_t> offsets;   // [K + 1]
};

// Loops of n boundary sides that run from start[i] to end[i], through vertices with exactly two of them, each along the
// direction of most of its sides, from its smallest vertex on, ascending by that.
BoundaryLoops boundaryLoops(const int64_t* start, const int64_t* end, int64_t n);

struct LoopPatches {
    std::vector<int64_t> faces;   // [3 * T] places in the list of loop vertices; its length + c for centre c
    std::vector<double> centres;  // [3 * C]
};

// Closes loops with triangles that run against them. positions [3 * offsets[numLoops]] of the loop vertices in order;
// chords [2 * numChords] ascending pairs (i < j) of places in one loop that must not be joined.
//
// Loops of up to kMaxOptimal vertices get the triangulation of least area (G. Barequet and M. Sharir, Filling gaps in
// the boundary of a polyhedron, 1995), longer ones have ears cut off, shortest first; where chords leave no way, a centre
// vertex joins what remains.
constexpr int64_t kMaxOptimal = 40;
LoopPatches closeLoops(const double* positions, const int64_t* offsets, int64_t numLoops, const int64_t* chords,
                       int64_t numChords);

}  // namespace ovoxel::mesh
