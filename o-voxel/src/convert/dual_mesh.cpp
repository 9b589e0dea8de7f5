#include "convert/dual_mesh.h"

#include <array>
#include <stdexcept>
#include <string>

#include "convert/surface_voxels.h"

namespace ovoxel {
namespace {

constexpr int kQuadOffsets[3][4][3] = {
    {{0, 0, 0}, {0, 0, 1}, {0, 1, 1}, {0, 1, 0}},
    {{0, 0, 0}, {1, 0, 0}, {1, 0, 1}, {0, 0, 1}},
    {{0, 0, 0}, {0, 1, 0}, {1, 1, 0}, {1, 0, 0}},
};

}  // namespace

std::vector<int32_t> dualQuads(const int32_t* coords, const bool* intersected, int64_t numVoxels,
                               const int64_t gridSize[3]) {
    GridSpec g{{1, 1, 1}, {gridSize[0], gridSize[1], gridSize[2]}, false};
    VoxelIndex index(g);
    for (int64_t row = 0; row < numVoxels; ++row) {
        const int32_t* c = coords + 3 * row;
        for (int a = 0; a < 3; ++a)
            if (c[a] < 0 || c[a] >= g.count[a])
                throw std::invalid_argument("coords must lie in [0, grid_size), got " + std::to_string(c[a]) +
                                            " at row " + std::to_string(row) + ", axis " + std::to_string(a));
        if (index.insert(c[0], c[1], c[2]) != row)
            throw std::invalid_argument("coords must have unique rows, row " + std::to_string(row) + " repeats");
    }
    using Quad = std::array<int32_t, 4>;
    const std::vector<Quad> quads =
        gatherChunks<Quad>(numVoxels, 16384, [&](int64_t begin, int64_t end, std::vector<Quad>& out) {
            for (int64_t row = begin; row < end; ++row) {
                for (int axis = 0; axis < 3; ++axis) {
                    if (!intersected[3 * row + axis]) continue;
                    Quad quad;
                    bool complete = true;
                    for (int i = 0; i < 4 && complete; ++i) {
                        int64_t c[3];
                        for (int a = 0; a < 3; ++a) c[a] = coords[3 * row + a] + int64_t{kQuadOffsets[axis][i][a]};
                        complete = c[0] < g.count[0] && c[1] < g.count[1] && c[2] < g.count[2];
                        if (complete) quad[i] = index.find(c[0], c[1], c[2]);
                        complete = complete && quad[i] >= 0;
                    }
                    if (complete) out.push_back(quad);
                }
            }
        });
    std::vector<int32_t> flat(4 * quads.size());
    for (size_t q = 0; q < quads.size(); ++q) std::copy(quads[q].begin(), quads[q].end(), flat.begin() + 4 * q);
    return flat;
}

}  // namespace ovoxel
