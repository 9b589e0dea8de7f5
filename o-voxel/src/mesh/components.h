// Connected components and two-sided (parity) components of a graph, by union-find.
#pragma once

#include <cstdint>
#include <vector>

namespace ovoxel::mesh {

// labels [n]: the smallest member of each node's component. pairs [2 * m] with ids in [0, n).
std::vector<int64_t> connectedComponents(int64_t n, const int64_t* pairs, int64_t m);

struct ParityComponents {
    std::vector<int64_t> labels;     // [n] smallest member of the component
    std::vector<uint8_t> parity;     // [n] 1 if the node differs from that member
    std::vector<uint8_t> conflicts;  // [m] 1 if the pair contradicts pairs before it
};

// differ [m]: 1 if the two nodes of a pair must have different parity. Pairs are honoured in the given order; one that
// contradicts earlier pairs is reported and ignored.
ParityComponents parityComponents(int64_t n, const int64_t* pairs, const uint8_t* differ, int64_t m);

}  // namespace ovoxel::mesh
