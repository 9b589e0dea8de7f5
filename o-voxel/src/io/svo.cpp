#include "io/svo.h"

#include <stdexcept>
#include <string>

namespace ovoxel {

std::vector<int32_t> decodeOctree(const uint8_t* data, int64_t size, int depth, int64_t maxLeaves) {
    constexpr int kMaxDepth = 10;
    if (depth < 1 || depth > kMaxDepth) throw std::invalid_argument("octree depth must be in 1..10");
    std::vector<int32_t> codes;
    int64_t next = 0;
    int32_t prefix[kMaxDepth];
    uint8_t pending[kMaxDepth];  // children of the open node of each level still to visit
    int level = 0;
    const auto open = [&](int32_t code) {
        if (next >= size) throw std::invalid_argument("octree ends early, after " + std::to_string(size) + " bytes");
        if (data[next] == 0)
            throw std::invalid_argument("octree byte " + std::to_string(next) + " is a node without children");
        prefix[level] = code;
        pending[level] = data[next++];
    };
    open(0);
    while (level >= 0) {
        if (level == depth - 1) {
            for (int child = 0; child < 8; ++child)
                if (pending[level] >> child & 1) codes.push_back(prefix[level] << 3 | child);
            if (static_cast<int64_t>(codes.size()) > maxLeaves)
                throw std::invalid_argument("octree has more than " + std::to_string(maxLeaves) + " voxels");
            --level;
            continue;
        }
        if (pending[level] == 0) {
            --level;
            continue;
        }
        int child = 0;
        while (!(pending[level] >> child & 1)) ++child;
        pending[level] = static_cast<uint8_t>(pending[level] & (pending[level] - 1));
        const int32_t code = prefix[level] << 3 | child;
        ++level;
        open(code);
    }
    if (next != size)
        throw std::invalid_argument("octree has " + std::to_string(size - next) + " bytes after its last node");
    return codes;
}

}  // namespace ovoxel
