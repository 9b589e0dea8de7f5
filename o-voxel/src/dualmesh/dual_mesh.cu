#include "dualmesh/dual_mesh.h"

#include <stdexcept>

#include "common/launch.h"
#include "common/tile_prefix.h"

namespace ovoxel {
namespace {

constexpr int kThreads = 256;  // voxels a tile

struct Counters {
    unsigned long long flags, tiles, quads;
    unsigned int outside, repeated;
};

// Enters the voxels into the table, places their vertices and counts the flags (a bound on the number of quads).
template <class T>
__global__ void __launch_bounds__(kThreads)
    insertKernel(VoxelTable table, DualGridView<T> grid, T* vertices, Counters* counters) {
    const int64_t row = int64_t{kThreads} * blockIdx.x + threadIdx.x;
    int flags = 0;
    if (row < grid.n) {
        for (int a = 0; a < 3; ++a) flags += grid.flags[3 * row + a] ? 1 : 0;
        placeVertex(grid, row, vertices + 3 * row);
        if (!insideGrid(grid, row))
            counters->outside = 1;
        else if (!table.insert(row))
            counters->repeated = 1;
    }
    __shared__ int sums[kThreads / 32];
    for (int step = 16; step > 0; step /= 2) flags += __shfl_xor_sync(0xffffffffu, flags, step);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = flags;
    __syncthreads();
    if (threadIdx.x == 0) {
        unsigned long long sum = 0;
        for (int w = 0; w < kThreads / 32; ++w) sum += static_cast<unsigned>(sums[w]);
        if (sum) atomicAdd(&counters->flags, sum);
    }
}

// Finds the quads of a tile of voxels, learns how many there are before it, and writes them. One pass: every voxel is
// looked up once, every result written once.
template <class T, bool kTrain>
__global__ void __launch_bounds__(kThreads)
    emitKernel(VoxelTable table, DualGridView<T> grid, Split split, DualMesh<T> mesh, uint64_t* states,
               Counters* counters) {
    __shared__ int4 quads[3 * kThreads];
    __shared__ unsigned sums[kThreads / 32];
    __shared__ unsigned long long sharedTile, sharedPrefix;
    __shared__ bool along02[kTrain ? 1 : 3 * kThreads];
    if (threadIdx.x == 0) sharedTile = atomicAdd(&counters->tiles, 1ull);
    __syncthreads();
    const int64_t tile = static_cast<int64_t>(sharedTile), row = tile * kThreads + threadIdx.x;
    int32_t rows[kNumAround];
    const unsigned complete = row < grid.n ? findQuads(table, grid, row, rows) : 0u;
    const unsigned own = __popc(complete);
    unsigned inclusive = own;
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (unsigned step = 1; step < 32; step *= 2) {
        const unsigned other = __shfl_up_sync(0xffffffffu, inclusive, step);
        inclusive += lane >= step ? other : 0u;
    }
    if (lane == 31) sums[warp] = inclusive;
    __syncthreads();
    unsigned before = inclusive - own, total = 0;
    for (unsigned w = 0; w < kThreads / 32; ++w) {
        before += w < warp ? sums[w] : 0u;
        total += sums[w];
    }
    if (warp == 0) {
        const uint64_t prefix = tilePrefix(states, tile, total);
        if (lane == 0) {
            sharedPrefix = prefix;
            if (tile == gridDim.x - 1) counters->quads = prefix + total;
        }
    }
    unsigned slot = before;
#pragma unroll
    for (int axis = 0; axis < 3; ++axis)
        if (complete >> axis & 1)
            quads[slot++] = {rows[quadCorner(axis, 0)], rows[quadCorner(axis, 1)], rows[quadCorner(axis, 2)],
                             rows[quadCorner(axis, 3)]};
    __syncthreads();
    const int64_t base = static_cast<int64_t>(sharedPrefix);
    if constexpr (kTrain) {
        if (row < grid.n) {
            mesh.first[row] = static_cast<uint32_t>(base + before);
            mesh.complete[row] = static_cast<uint8_t>(complete);
        }
        for (unsigned q = threadIdx.x; q < total; q += kThreads) {
            reinterpret_cast<int4*>(mesh.quads)[base + q] = quads[q];
            quadCentre(&quads[q].x, mesh.vertices, grid.weight, mesh.vertices + 3 * (grid.n + base + q));
        }
        for (unsigned t = threadIdx.x; t < 3 * total; t += kThreads) {
            const int4 quad = quads[t / 3];
            const int32_t centre = static_cast<int32_t>(grid.n + base + t / 3);
            const int4 parts[3] = {{quad.x, quad.y, centre, quad.y},
                                   {quad.z, centre, quad.z, quad.w},
                                   {centre, quad.w, quad.x, centre}};
            reinterpret_cast<int4*>(mesh.triangles)[3 * base + t] =
                t % 3 == 0 ? parts[0] : (t % 3 == 1 ? parts[1] : parts[2]);
        }
    } else {
        for (unsigned q = threadIdx.x; q < total; q += kThreads)
            along02[q] = cutAlong02(split, &quads[q].x, mesh.vertices, grid.weight);
        __syncthreads();
        for (unsigned t = threadIdx.x; t < 3 * total; t += kThreads) {
            const int32_t* quad = &quads[t / 3].x;
            const bool cut = along02[t / 3];
            const int k = 2 * static_cast<int>(t % 3);
            reinterpret_cast<int2*>(mesh.triangles)[3 * base + t] = {quad[cutCorner(cut, k)], quad[cutCorner(cut, k + 1)]};
        }
    }
}

}  // namespace

template <class T>
DualMesh<T> dualMeshOnDevice(Workspace& workspace, const DualGridView<T>& grid, Split split, bool train) {
    const int64_t n = grid.n, tiles = (n + kThreads - 1) / kThreads, capacity = VoxelTable::capacityFor(n);
    DualMesh<T> mesh;
    mesh.slots = workspace.allocate<uint32_t>(capacity);
    if (train) {
        mesh.first = workspace.allocate<uint32_t>(n);
        mesh.complete = workspace.allocate<uint8_t>(n);
    }
    if (n == 0) {
        mesh.vertices = workspace.allocate<T>(0);
        mesh.triangles = workspace.allocate<int32_t>(0);
        if (train) mesh.quads = workspace.allocate<int32_t>(0);
        return mesh;
    }
    checkCuda(cudaMemsetAsync(mesh.slots, 0xff, sizeof(uint32_t) * capacity, workspace.stream()), "memset");
    constexpr int64_t kHeader = sizeof(Counters) / sizeof(uint64_t);
    static_assert(sizeof(Counters) % sizeof(uint64_t) == 0);
    auto* memory = workspace.allocate<uint64_t>(kHeader + tiles);
    fillZero(workspace, memory, kHeader + tiles);
    auto* counters = reinterpret_cast<Counters*>(memory);
    uint64_t* states = memory + kHeader;

    const VoxelTable table(grid.coords, 3, mesh.slots, capacity);
    // The training form appends the centres to the vertices, so the flags are counted before there is memory for both.
    T* vertices = train ? workspace.allocate<T>(3 * n) : (mesh.vertices = workspace.allocate<T>(3 * n));
    insertKernel<<<static_cast<unsigned>(tiles), kThreads, 0, workspace.stream()>>>(table, grid, vertices, counters);
    checkLaunch("entering voxels");
    const Counters counted = readBack(workspace, counters);
    if (counted.outside) throw std::invalid_argument("coords must lie in [0, grid_size)");
    if (counted.repeated) throw std::invalid_argument("coords must have unique rows, some repeat");

    const int64_t bound = static_cast<int64_t>(counted.flags);
    mesh.triangles = workspace.allocate<int32_t>((train ? 12 : 6) * bound);
    if (train) {
        mesh.vertices = workspace.allocate<T>(3 * (n + bound));
        checkCuda(cudaMemcpyAsync(mesh.vertices, vertices, sizeof(T) * 3 * n, cudaMemcpyDeviceToDevice,
                                  workspace.stream()), "copy");
        workspace.release(vertices);
        mesh.quads = workspace.allocate<int32_t>(4 * bound);
        emitKernel<T, true><<<static_cast<unsigned>(tiles), kThreads, 0, workspace.stream()>>>(table, grid, split, mesh,
                                                                                              states, counters);
    } else {
        emitKernel<T, false><<<static_cast<unsigned>(tiles), kThreads, 0, workspace.stream()>>>(table, grid, split, mesh,
                                                                                               states, counters);
    }
    checkLaunch("writing quads");
    mesh.numQuads = static_cast<int64_t>(readBack(workspace, &counters->quads));
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
    const VoxelTable table(grid.coords, 3, mesh.slots, VoxelTable::capacityFor(n));
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
