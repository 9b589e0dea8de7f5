#include "dualmesh/dual_mesh.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <stdexcept>
#include <vector>

#include "common/parallel.h"

namespace ovoxel {
namespace {

constexpr int64_t kChunk = 8192;

using Quad = std::array<int32_t, 4>;

}  // namespace

template <class T>
DualMesh<T> dualMesh(Workspace& workspace, const DualGridView<T>& grid, Split split, bool train) {
    const int64_t n = grid.n, chunks = (n + kChunk - 1) / kChunk, capacity = tableCapacity(n);
    DualMesh<T> mesh;
    mesh.slots = workspace.allocate<VoxelTable::Slot>(capacity);
    const VoxelTable table = tableOf(grid, mesh.slots);
    parallelFor(capacity, 1 << 18, [&](int64_t begin, int64_t end) {
        std::fill(mesh.slots + begin, mesh.slots + end, VoxelTable::kEmpty);
    });
    std::atomic<bool> outside{false}, repeated{false};
    parallelFor(n, kChunk, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            if (!insideGrid(grid, row))
                outside.store(true, std::memory_order_relaxed);
            else if (!table.insert(row))
                repeated.store(true, std::memory_order_relaxed);
        }
    });
    if (outside) throw std::invalid_argument("coords must lie in [0, grid_size)");
    if (repeated) throw std::invalid_argument("coords must have unique rows, some repeat");

    if (train) {
        mesh.first = workspace.allocate<uint32_t>(n);
        mesh.complete = workspace.allocate<uint8_t>(n);
    }
    std::vector<std::vector<Quad>> parts(static_cast<size_t>(chunks));
    parallelFor(chunks, 1, [&](int64_t begin, int64_t end) {
        for (int64_t c = begin; c < end; ++c) {
            std::vector<Quad>& part = parts[c];
            part.reserve(static_cast<size_t>(kChunk));
            for (int64_t row = c * kChunk; row < std::min(n, (c + 1) * kChunk); ++row) {
                int32_t rows[kNumAround];
                const unsigned complete = findQuads(table, grid, row, rows);
                if (train) {
                    mesh.first[row] = static_cast<uint32_t>(part.size());  // within the chunk, moved below
                    mesh.complete[row] = static_cast<uint8_t>(complete);
                }
                for (int axis = 0; axis < 3; ++axis) {
                    if (!(complete >> axis & 1)) continue;
                    Quad quad;
                    for (int i = 0; i < 4; ++i) quad[i] = rows[quadCorner(axis, i)];
                    part.push_back(quad);
                }
            }
        }
    });
    std::vector<int64_t> offset(parts.size() + 1, 0);
    for (size_t c = 0; c < parts.size(); ++c) offset[c + 1] = offset[c] + static_cast<int64_t>(parts[c].size());
    mesh.numQuads = offset.back();

    mesh.vertices = workspace.allocate<T>(3 * (n + (train ? mesh.numQuads : 0)));
    mesh.triangles = workspace.allocate<int32_t>((train ? 12 : 6) * mesh.numQuads);
    if (train) mesh.quads = workspace.allocate<int32_t>(4 * mesh.numQuads);
    parallelFor(3 * n, 3 * kChunk, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) mesh.vertices[i] = placeCoordinate(grid, i);
    });
    parallelFor(chunks, 1, [&](int64_t begin, int64_t end) {
        for (int64_t c = begin; c < end; ++c) {
            if (train)
                for (int64_t row = c * kChunk; row < std::min(n, (c + 1) * kChunk); ++row)
                    mesh.first[row] += static_cast<uint32_t>(offset[c]);
            int64_t number = offset[c];
            for (const Quad& quad : parts[c]) {
                if (train) {
                    std::copy(quad.begin(), quad.end(), mesh.quads + 4 * number);
                    quadCentre(quad.data(), mesh.vertices, grid.weight, mesh.vertices + 3 * (n + number));
                    int32_t* out = mesh.triangles + 12 * number;
                    for (int i = 0; i < 4; ++i) {
                        *out++ = quad[i];
                        *out++ = quad[(i + 1) % 4];
                        *out++ = static_cast<int32_t>(n + number);
                    }
                } else {
                    const bool along02 = cutAlong02(split, quad.data(), mesh.vertices, grid.weight);
                    for (int k = 0; k < 6; ++k) mesh.triangles[6 * number + k] = quad[cutCorner(along02, k)];
                }
                ++number;
            }
            std::vector<Quad>().swap(parts[c]);
        }
    });
    return mesh;
}

template <class T>
void dualMeshBackward(Workspace& workspace, const DualGridView<T>& grid, const DualMesh<T>& mesh, const T* gradVertices,
                      T* gradLocal, T* gradWeight) {
    auto* quads = workspace.allocate<QuadGradient<T>>(mesh.numQuads);
    parallelFor(mesh.numQuads, kChunk, [&](int64_t begin, int64_t end) {
        for (int64_t q = begin; q < end; ++q)
            quads[q] = quadGradient(mesh.quads + 4 * q, mesh.vertices, grid.weight, mesh.vertices + 3 * (grid.n + q),
                                    gradVertices + 3 * (grid.n + q));
    });
    const VoxelTable table = tableOf(grid, mesh.slots);
    parallelFor(grid.n, kChunk, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row)
            gatherGradient(table, {mesh.first, mesh.complete}, row, quads, grid.voxelSize, gradVertices + 3 * row,
                           gradLocal + 3 * row, gradWeight + row);
    });
}

template DualMesh<float> dualMesh(Workspace&, const DualGridView<float>&, Split, bool);
template DualMesh<double> dualMesh(Workspace&, const DualGridView<double>&, Split, bool);
template void dualMeshBackward(Workspace&, const DualGridView<float>&, const DualMesh<float>&, const float*, float*,
                               float*);
template void dualMeshBackward(Workspace&, const DualGridView<double>&, const DualMesh<double>&, const double*, double*,
                               double*);

}  // namespace ovoxel
