#include "dualmesh/dual_mesh.h"

#include <cstring>
#include <stdexcept>

#include "common/launch.h"
#include "common/primitives.h"

namespace ovoxel {
namespace {

constexpr int kThreads = 256;  // voxels a tile
constexpr int kMaxQuads = 3 * kThreads;

struct Counters {
    unsigned int outside, repeated;
};

// Enters the voxels into the table and places their vertices, if there is memory for them yet.
template <class T>
__global__ void __launch_bounds__(kThreads)
    insertKernel(VoxelTable table, DualGridView<T> grid, T* vertices, Counters* counters) {
    const int64_t first = int64_t{kThreads} * blockIdx.x, row = first + threadIdx.x;
    if (vertices)  // neighbouring threads to neighbouring memory
        for (int64_t i = 3 * first + threadIdx.x; i < 3 * (first + kThreads) && i < 3 * grid.n; i += kThreads)
            vertices[i] = placeCoordinate(grid, i);
    if (row >= grid.n) return;
    if (!insideGrid(grid, row))
        counters->outside = 1;
    else if (!table.insert(row))
        counters->repeated = 1;
}

// Finds the quads of a tile of voxels; they wait in the tile's part of `found` until all tiles are counted.
template <class T>
__global__ void __launch_bounds__(kThreads)
    findKernel(VoxelTable table, DualGridView<T> grid, int4* found, int32_t* counts, uint32_t* first, uint8_t* owns) {
    __shared__ int4 quads[kMaxQuads];
    __shared__ unsigned sums[kThreads / 32];
    const int64_t tile = blockIdx.x, row = tile * kThreads + threadIdx.x;
    int32_t rows[kNumAround];
    const unsigned complete = row < grid.n ? findQuads(table, grid, row, rows) : 0u;
    const unsigned own = __popc(complete), lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned inclusive = own;
    for (unsigned step = 1; step < 32; step *= 2) {
        const unsigned other = __shfl_up_sync(0xffffffffu, inclusive, step);
        inclusive += lane >= step ? other : 0u;
    }
    if (lane == 31) sums[warp] = inclusive;
    __syncthreads();
    unsigned slot = inclusive - own, total = 0;
    for (unsigned w = 0; w < kThreads / 32; ++w) {
        slot += w < warp ? sums[w] : 0u;
        total += sums[w];
    }
    if (first && row < grid.n) {
        first[row] = slot;  // within the tile
        owns[row] = static_cast<uint8_t>(complete);
    }
    if (threadIdx.x == 0) counts[tile] = static_cast<int32_t>(total);
#pragma unroll
    for (int axis = 0; axis < 3; ++axis)
        if (complete >> axis & 1)
            quads[slot++] = {rows[quadCorner(axis, 0)], rows[quadCorner(axis, 1)], rows[quadCorner(axis, 2)],
                             rows[quadCorner(axis, 3)]};
    __syncthreads();
    for (unsigned q = threadIdx.x; q < total; q += kThreads) found[tile * kMaxQuads + q] = quads[q];
}

// Cuts the quads of a tile and writes them to their place, neighbouring threads to neighbouring memory.
template <class T, bool kTrain>
__global__ void __launch_bounds__(kThreads)
    writeKernel(DualGridView<T> grid, Split split, DualMesh<T> mesh, const int4* found, const int64_t* starts) {
    __shared__ int4 quads[kMaxQuads];
    __shared__ bool along02[kTrain ? 1 : kMaxQuads];
    const int64_t tile = blockIdx.x, row = tile * kThreads + threadIdx.x;
    const int64_t base = starts[tile];
    const auto total = static_cast<unsigned>(starts[tile + 1] - base);
    if (kTrain && row < grid.n) mesh.first[row] += static_cast<uint32_t>(base);
    for (unsigned q = threadIdx.x; q < total; q += kThreads) {
        const int4 quad = quads[q] = found[tile * kMaxQuads + q];
        const int32_t rows[4] = {quad.x, quad.y, quad.z, quad.w};
        if constexpr (kTrain) {
            reinterpret_cast<int4*>(mesh.quads)[base + q] = quad;
            quadCentre(rows, mesh.vertices, grid.weight, mesh.vertices + 3 * (grid.n + base + q));
        } else {
            along02[q] = cutAlong02(split, rows, mesh.vertices, grid.weight);
        }
    }
    __syncthreads();
    for (unsigned t = threadIdx.x; t < 3 * total; t += kThreads) {
        const unsigned q = t / 3, part = t % 3;
        if constexpr (kTrain) {
            const int4 quad = quads[q];
            const auto centre = static_cast<int32_t>(grid.n + base + q);
            const int4 head{quad.x, quad.y, centre, quad.y}, middle{quad.z, centre, quad.z, quad.w},
                tail{centre, quad.w, quad.x, centre};
            reinterpret_cast<int4*>(mesh.triangles)[3 * base + t] = part == 0 ? head : (part == 1 ? middle : tail);
        } else {
            const int32_t* quad = &quads[q].x;
            const int k = 2 * static_cast<int>(part);
            reinterpret_cast<int2*>(mesh.triangles)[3 * base + t] = {quad[cutCorner(along02[q], k)],
                                                                    quad[cutCorner(along02[q], k + 1)]};
        }
    }
}

}  // namespace

template <class T>
DualMesh<T> dualMeshOnDevice(Workspace& workspace, const DualGridView<T>& grid, Split split, bool train) {
    const int64_t n = grid.n, tiles = (n + kThreads - 1) / kThreads, capacity = tableCapacity(n);
    const auto blocks = static_cast<unsigned>(tiles);
    CUstream_st* stream = workspace.stream();
    DualMesh<T> mesh;
    mesh.slots = workspace.allocate<VoxelTable::Slot>(capacity);
    if (train) {
        mesh.first = workspace.allocate<uint32_t>(n);
        mesh.complete = workspace.allocate<uint8_t>(n);
    } else {
        mesh.vertices = workspace.allocate<T>(3 * n);  // the training form appends to them, once it knows how many
    }
    checkCuda(cudaMemsetAsync(mesh.slots, 0xff, sizeof(VoxelTable::Slot) * capacity, stream), "memset");
    int64_t* starts = workspace.allocate<int64_t>(tiles + 2);  // and, last, the counters: one copy brings both back
    auto* counters = reinterpret_cast<Counters*>(starts + tiles + 1);
    static_assert(sizeof(Counters) == sizeof(int64_t));
    fillZero(workspace, counters, 1);
    int32_t* counts = workspace.allocate<int32_t>(tiles);
    int4* found = workspace.allocate<int4>(tiles * kMaxQuads);
    const VoxelTable table = tableOf(grid, mesh.slots);
    if (n > 0) {
        insertKernel<<<blocks, kThreads, 0, stream>>>(table, grid, mesh.vertices, counters);
        checkLaunch("entering voxels");
        findKernel<<<blocks, kThreads, 0, stream>>>(table, grid, found, counts, mesh.first, mesh.complete);
        checkLaunch("finding quads");
    }
    exclusiveSum(workspace, counts, starts, tiles);
    int64_t result[2];
    readBack(workspace, starts + tiles, result, 2);
    Counters counted;
    std::memcpy(&counted, result + 1, sizeof(counted));
    if (counted.outside) throw std::invalid_argument("coords must lie in [0, grid_size)");
    if (counted.repeated) throw std::invalid_argument("coords must have unique rows, some repeat");

    mesh.numQuads = result[0];
    mesh.triangles = workspace.allocate<int32_t>((train ? 12 : 6) * mesh.numQuads);
    if (train) {
        mesh.vertices = workspace.allocate<T>(3 * (n + mesh.numQuads));
        mesh.quads = workspace.allocate<int32_t>(4 * mesh.numQuads);
        T* vertices = mesh.vertices;
        launchFor(workspace, 3 * n, [=] __device__(int64_t i) { vertices[i] = placeCoordinate(grid, i); }, "vertices");
        if (n > 0) writeKernel<T, true><<<blocks, kThreads, 0, stream>>>(grid, split, mesh, found, starts);
    } else if (n > 0) {
        writeKernel<T, false><<<blocks, kThreads, 0, stream>>>(grid, split, mesh, found, starts);
    }
    checkLaunch("writing quads");
    return mesh;
}

template <class T>
void dualMeshBackwardOnDevice(Workspace& workspace, const DualGridView<T>& grid, const DualMesh<T>& mesh,
                              const T* gradVertices, T* gradLocal, T* gradWeight) {
    auto* quads = workspace.allocate<QuadGradient<T>>(mesh.numQuads);
    const int64_t n = grid.n;
    launchFor(workspace, mesh.numQuads,
              [=] __device__(int64_t q) {
                  quads[q] = quadGradient(mesh.quads + 4 * q, mesh.vertices, grid.weight, mesh.vertices + 3 * (n + q),
                                          gradVertices + 3 * (n + q));
              },
              "gradients of quads");
    const VoxelTable table = tableOf(grid, mesh.slots);
    launchFor(workspace, n,
              [=] __device__(int64_t row) {
                  gatherGradient(table, {mesh.first, mesh.complete}, row, quads, grid.voxelSize, gradVertices + 3 * row,
                                 gradLocal + 3 * row, gradWeight + row);
              },
              "gradients of voxels");
}

template DualMesh<float> dualMeshOnDevice(Workspace&, const DualGridView<float>&, Split, bool);
template DualMesh<double> dualMeshOnDevice(Workspace&, const DualGridView<double>&, Split, bool);
template void dualMeshBackwardOnDevice(Workspace&, const DualGridView<float>&, const DualMesh<float>&, const float*,
                                       float*, float*);
template void dualMeshBackwardOnDevice(Workspace&, const DualGridView<double>&, const DualMesh<double>&, const double*,
                                       double*, double*);

}  // namespace ovoxel
