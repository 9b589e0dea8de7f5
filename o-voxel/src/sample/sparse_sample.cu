// Rows of many channels: eight lanes share a query, each looks up one corner, then each sums some of the channels.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <type_traits>

#include "common/launch.h"
#include "common/primitives.h"
#include "sample/sparse_sample.h"

namespace ovoxel {
namespace {

constexpr int kThreads = 256, kLanes = 8;
constexpr int64_t kFewBytes = 32;  // of a row: up to here one thread does a query

__device__ inline float widen(float value) { return value; }
__device__ inline float widen(__half value) { return __half2float(value); }
__device__ inline float widen(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ inline void narrow(float value, float* out) { *out = value; }
__device__ inline void narrow(float value, __half* out) { *out = __float2half_rn(value); }
__device__ inline void narrow(float value, __nv_bfloat16* out) { *out = __float2bfloat16_rn(value); }

template <class E, int V>
struct alignas(sizeof(E) * V) Pack {
    E value[V];
};

// Weighted sum of V channels from c on, over the corners in order; `from` are rows of `channels` values.
template <class E, int V>
__device__ inline Pack<E, V> sumCorners(const int32_t (&row)[8], const float (&weight)[8], const E* from, int64_t channels,
                                        int64_t c) {
    constexpr int kAtOnce = sizeof(E) * V >= 16 ? 4 : 8;  // reads under way, as registers allow
    float sum[V] = {};
#pragma unroll
    for (int first = 0; first < 8; first += kAtOnce) {
        Pack<E, V> pack[kAtOnce];
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k)
            if (row[first + k] >= 0)
                pack[k] = *reinterpret_cast<const Pack<E, V>*>(from + row[first + k] * channels + c);
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k)
            if (row[first + k] >= 0)
                for (int v = 0; v < V; ++v) sum[v] += weight[first + k] * widen(pack[k].value[v]);
    }
    Pack<E, V> result;
    for (int v = 0; v < V; ++v) narrow(sum[v], &result.value[v]);
    return result;
}

// Corners of the query of this lane's group: rows (-1: absent) and weights, all eight in every lane.
struct Corners {
    int32_t row[8];
    float weight[8];
};

__device__ inline Corners findCorners(const VoxelTable& table, const SampleQueries& queries, int64_t m) {
    const SampleOptions options = queries.options;
    const int lane = static_cast<int>(threadIdx.x % kLanes);
    const int64_t batch = queries.shape.batches == 1 ? 0 : m / queries.perBatch;
    const SampleQuery query = makeQuery(queries.shape, options, batch, queries.points + 3 * m);
    const bool looks = query.usable && (!options.nearest || lane == 0);
    const int32_t row = looks ? static_cast<int32_t>(table.find(query.cell(options.nearest ? 0 : lane))) : -1;
    float weight = row < 0 ? 0.0f : (options.nearest ? 1.0f : query.weight(lane));
    if (options.normalize && !options.nearest) {
        float sum = 0;
        for (int k = 0; k < kLanes; ++k) sum += __shfl_sync(0xffffffffu, weight, k, kLanes);
        weight /= fmaxf(sum, 1e-12f);
    }
    Corners corners;
#pragma unroll
    for (int k = 0; k < kLanes; ++k) {
        corners.row[k] = __shfl_sync(0xffffffffu, row, k, kLanes);
        corners.weight[k] = __shfl_sync(0xffffffffu, weight, k, kLanes);
    }
    return corners;
}

__device__ inline int64_t queryOfThread() {
    return (int64_t{kThreads} * blockIdx.x + threadIdx.x) / kLanes;
}

template <class E, int V>
__global__ void __launch_bounds__(kThreads, V == 8 ? 3 : 4)
    sampleKernel(VoxelTable table, SampleQueries queries, const E* feats, int64_t channels, E* out) {
    const int64_t m = queryOfThread(), last = queries.count() - 1;
    const Corners corners = findCorners(table, queries, m < last ? m : last);
    if (m > last) return;
    for (int64_t c = threadIdx.x % kLanes * V; c < channels; c += kLanes * V)
        *reinterpret_cast<Pack<E, V>*>(out + m * channels + c) =
            sumCorners<E, V>(corners.row, corners.weight, feats, channels, c);
}

// Rows of few channels: one thread a query, its eight look-ups under way at once.
template <class E, int V>
__global__ void __launch_bounds__(kThreads, V == 8 ? 3 : 4)
    sampleFewKernel(VoxelTable table, SampleQueries queries, const E* feats, int64_t channels, E* out) {
    const int64_t m = int64_t{kThreads} * blockIdx.x + threadIdx.x;
    if (m >= queries.count()) return;
    const SampleOptions options = queries.options;
    const int64_t batch = queries.shape.batches == 1 ? 0 : m / queries.perBatch;
    const SampleQuery query = makeQuery(queries.shape, options, batch, queries.points + 3 * m);
    int32_t row[kLanes];
    float weight[kLanes];
    if (options.nearest) {
#pragma unroll
        for (int k = 1; k < kLanes; ++k) row[k] = -1;
        row[0] = query.usable ? static_cast<int32_t>(table.find(query.cell(0))) : -1;
        weight[0] = 1.0f;
    } else {
        VoxelTable::Slot held[kLanes];
#pragma unroll
        for (int k = 0; k < kLanes; ++k) {
            const Cell cell = query.cell(k);
            held[k] = query.usable && queries.shape.holds(cell) ? table.read(table.home(cell)) : VoxelTable::kEmpty;
        }
        float sum = 0;
#pragma unroll
        for (int k = 0; k < kLanes; ++k) {
            const Cell cell = query.cell(k);
            row[k] = -1;
            weight[k] = 0;
            if (held[k] == VoxelTable::kEmpty) continue;
            row[k] = static_cast<int32_t>(table.finish(cell, table.home(cell), held[k]));
            if (row[k] >= 0) sum += weight[k] = query.weight(k);
        }
        if (options.normalize)
            for (int k = 0; k < kLanes; ++k) weight[k] /= fmaxf(sum, 1e-12f);
    }
    for (int64_t c = 0; c < channels; c += V)
        *reinterpret_cast<Pack<E, V>*>(out + m * channels + c) = sumCorners<E, V>(row, weight, feats, channels, c);
}

template <int V>
__device__ inline void addTo(float* target, const float (&value)[V]) {
#if __CUDA_ARCH__ >= 900
    constexpr bool kFours = V % 4 == 0, kTwos = V == 2;
    if constexpr (kFours) {
        for (int v = 0; v < V; v += 4)
            atomicAdd(reinterpret_cast<float4*>(target + v), make_float4(value[v], value[v + 1], value[v + 2], value[v + 3]));
    } else if constexpr (kTwos) {
        atomicAdd(reinterpret_cast<float2*>(target), make_float2(value[0], value[1]));
    } else {
        for (int v = 0; v < V; ++v) atomicAdd(target + v, value[v]);
    }
#else
    for (int v = 0; v < V; ++v) atomicAdd(target + v, value[v]);
#endif
}

template <class E, int V>
__global__ void __launch_bounds__(kThreads)
    scatterKernel(VoxelTable table, SampleQueries queries, const E* gradOut, int64_t channels, float* gradFeats) {
    const int64_t m = queryOfThread(), last = queries.count() - 1;
    const Corners corners = findCorners(table, queries, m < last ? m : last);
    if (m > last) return;
    for (int64_t c = threadIdx.x % kLanes * V; c < channels; c += kLanes * V) {
        const Pack<E, V> pack = *reinterpret_cast<const Pack<E, V>*>(gradOut + m * channels + c);
#pragma unroll
        for (int k = 0; k < kLanes; ++k) {
            if (corners.row[k] < 0) continue;
            float part[V];
            for (int v = 0; v < V; ++v) part[v] = corners.weight[k] * widen(pack.value[v]);
            addTo<V>(gradFeats + corners.row[k] * channels + c, part);
        }
    }
}

// Contributions first .. first + count - 1 queries: entry = (query - first) * perQuery + corner; row n where absent.
__global__ void __launch_bounds__(kThreads)
    listKernel(VoxelTable table, SampleQueries queries, int64_t first, int64_t count, int64_t n, uint64_t* rows,
               uint32_t* entries, float* weights) {
    const int64_t m = queryOfThread(), last = count - 1;
    const Corners corners = findCorners(table, queries, first + (m < last ? m : last));
    const int perQuery = queries.options.nearest ? 1 : kLanes, lane = static_cast<int>(threadIdx.x % kLanes);
    if (m > last) return;
#pragma unroll
    for (int k = 0; k < kLanes; ++k) {
        if (k != lane || k >= perQuery) continue;
        const int64_t entry = m * perQuery + k;
        rows[entry] = static_cast<uint64_t>(corners.row[k] < 0 ? n : corners.row[k]);
        entries[entry] = static_cast<uint32_t>(entry);
        weights[entry] = corners.weight[k];
    }
}

template <class E, int V>
__global__ void __launch_bounds__(kThreads)
    gatherKernel(const uint32_t* start, const uint32_t* entries, const float* weights, const E* gradOut, int perQuery,
                 int64_t n, int64_t channels, float* gradFeats) {
    const int64_t row = queryOfThread();
    if (row >= n) return;
    const uint32_t begin = start[row], end = start[row + 1];
    if (begin == end) return;
    for (int64_t c = threadIdx.x % kLanes * V; c < channels; c += kLanes * V) {
        float* target = gradFeats + row * channels + c;
        float sum[V];
        for (int v = 0; v < V; ++v) sum[v] = target[v];
        for (uint32_t i = begin; i < end; ++i) {
            const uint32_t entry = entries[i];
            const float weight = weights[entry];
            const E* from = gradOut + static_cast<int64_t>(entry / perQuery) * channels + c;
            const Pack<E, V> pack = *reinterpret_cast<const Pack<E, V>*>(from);
            for (int v = 0; v < V; ++v) sum[v] += weight * widen(pack.value[v]);
        }
        for (int v = 0; v < V; ++v) target[v] = sum[v];
    }
}

unsigned blocksFor(int64_t groups) { return static_cast<unsigned>((groups * kLanes + kThreads - 1) / kThreads); }

// Calls run(E{}, std::integral_constant<int, V>{}) with the element type and the widest pack that divides a row.
template <class Run>
void forElement(Element element, int64_t channels, const void* a, const void* b, Run&& run) {
    const auto width = [&](auto e) {
        using E = decltype(e);
        constexpr int kWide = 16 / static_cast<int>(sizeof(E));
        const auto fits = [&](int64_t v) {
            const auto aligned = [&](const void* p) { return reinterpret_cast<uintptr_t>(p) % (v * sizeof(E)) == 0; };
            return channels % v == 0 && aligned(a) && aligned(b);
        };
        if (fits(kWide))
            run(e, std::integral_constant<int, kWide>{});
        else if (fits(2))
            run(e, std::integral_constant<int, 2>{});
        else
            run(e, std::integral_constant<int, 1>{});
    };
    if (element == Element::kFloat32) width(float{});
    if (element == Element::kFloat16) width(__half{});
    if (element == Element::kBfloat16) width(__nv_bfloat16{});
}

}  // namespace

VoxelTable::Slot* buildTableOnDevice(Workspace& workspace, const int32_t* coords, int64_t n, const Extent& shape) {
    const int64_t capacity = indexCapacity(n);
    auto* slots = workspace.allocate<VoxelTable::Slot>(capacity);
    checkCuda(cudaMemsetAsync(slots, 0xff, sizeof(VoxelTable::Slot) * capacity, workspace.stream()), "memset");
    const VoxelTable table(coords, 4, shape, slots, capacity);
    launchFor(workspace, n,
              [=] __device__(int64_t row) {
                  if (shape.holds(table.cell(row))) table.insert(row);
              },
              "voxel table");
    return slots;
}

void sampleFeaturesOnDevice(Workspace& workspace, const VoxelTable& table, const SampleQueries& queries, Element element,
                            const void* feats, int64_t channels, void* out) {
    const int64_t count = queries.count();
    if (count == 0 || channels == 0) return;
    forElement(element, channels, feats, out, [&](auto e, auto v) {
        using E = decltype(e);
        constexpr int V = decltype(v)::value;
        const E* from = static_cast<const E*>(feats);
        E* to = static_cast<E*>(out);
        if (channels * static_cast<int64_t>(sizeof(E)) <= kFewBytes)
            sampleFewKernel<E, V><<<static_cast<unsigned>((count + kThreads - 1) / kThreads), kThreads, 0,
                                    workspace.stream()>>>(table, queries, from, channels, to);
        else
            sampleKernel<E, V><<<blocksFor(count), kThreads, 0, workspace.stream()>>>(table, queries, from, channels, to);
    });
    checkLaunch("sparse sampling");
}

void sampleBackwardOnDevice(Workspace& workspace, const VoxelTable& table, int64_t n, const SampleQueries& queries,
                            Element element, const void* gradOut, int64_t channels, bool ordered, float* gradFeats) {
    fillZero(workspace, gradFeats, n * channels);
    const int64_t total = queries.count();
    if (total == 0 || channels == 0 || n == 0) return;
    if (!ordered) {
        forElement(element, channels, gradOut, gradFeats, [&](auto e, auto v) {
            using E = decltype(e);
            scatterKernel<E, decltype(v)::value><<<blocksFor(total), kThreads, 0, workspace.stream()>>>(
                table, queries, static_cast<const E*>(gradOut), channels, gradFeats);
        });
        checkLaunch("gradient of sparse sampling");
        return;
    }
    const int perQuery = queries.options.nearest ? 1 : kLanes;
    int bits = 1;
    while ((n >> bits) != 0) ++bits;
    for (int64_t first = 0; first < total; first += kQueriesAtOnce) {
        const int64_t count = std::min(kQueriesAtOnce, total - first), size = count * perQuery;
        uint64_t* rows = workspace.allocate<uint64_t>(size);
        uint32_t* entries = workspace.allocate<uint32_t>(size);
        float* weights = workspace.allocate<float>(size);
        listKernel<<<blocksFor(count), kThreads, 0, workspace.stream()>>>(table, queries, first, count, n, rows, entries,
                                                                         weights);
        checkLaunch("contributions to the gradient");
        const SortedKeys sorted = sortPairs(workspace, rows, entries, size, bits);
        workspace.release(rows);
        workspace.release(entries);
        uint32_t* start = workspace.allocate<uint32_t>(n + 1);
        launchFor(workspace, size + 1,
                  [=] __device__(int64_t i) {  // rows up to the one at i, and after the one before, start at i
                      const int64_t from = i == 0 ? -1 : static_cast<int64_t>(sorted.keys[i - 1]);
                      const int64_t to = i == size ? n : static_cast<int64_t>(sorted.keys[i]);
                      for (int64_t row = from + 1; row <= to; ++row) start[row] = static_cast<uint32_t>(i);
                  },
                  "starts of rows");
        forElement(element, channels, gradOut, gradFeats, [&](auto e, auto v) {
            using E = decltype(e);
            gatherKernel<E, decltype(v)::value><<<blocksFor(n), kThreads, 0, workspace.stream()>>>(
                start, sorted.values, weights, static_cast<const E*>(gradOut) + first * channels, perQuery, n, channels,
                gradFeats);
        });
        checkLaunch("ordered gradient of sparse sampling");
        workspace.release(weights);
        workspace.release(sorted.keys);
        workspace.release(sorted.values);
        workspace.release(start);
    }
}

}  // namespace ovoxel
