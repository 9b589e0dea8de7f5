#include "common/primitives.h"

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>
#include <cub/device/device_select.cuh>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>

#include "common/launch.h"

namespace ovoxel {
namespace {

// Runs a CUB call twice: once for the size of its temporary memory, once for the work.
template <class Call>
void withTemporary(Workspace& workspace, const char* what, Call&& call) {
    size_t bytes = 0;
    checkCuda(call(nullptr, bytes), what);
    void* temporary = workspace.allocate(bytes ? bytes : 1);
    checkCuda(call(temporary, bytes), what);
    workspace.release(temporary);
}

struct Widen {  // the sums are 64-bit whatever the terms are
    template <class T>
    __host__ __device__ int64_t operator()(T value) const {
        return static_cast<int64_t>(value);
    }
};

template <class In>
void sumInto(Workspace& workspace, const In* in, int64_t* out, int64_t n) {
    fillZero(workspace, out, 1);
    if (n <= 0) return;
    withTemporary(workspace, "prefix sum", [&](void* temporary, size_t& bytes) {
        return cub::DeviceScan::InclusiveSum(temporary, bytes, thrust::make_transform_iterator(in, Widen{}), out + 1, n,
                                             workspace.stream());
    });
}

}  // namespace

void exclusiveSum(Workspace& workspace, const int32_t* in, int64_t* out, int64_t n) { sumInto(workspace, in, out, n); }
void exclusiveSum(Workspace& workspace, const uint8_t* in, int64_t* out, int64_t n) { sumInto(workspace, in, out, n); }

SortedKeys sortPairs(Workspace& workspace, const uint64_t* keys, const uint32_t* values, int64_t n, int bits) {
    SortedKeys sorted{workspace.allocate<uint64_t>(n), workspace.allocate<uint32_t>(n)};
    if (n > 0)
        withTemporary(workspace, "sort", [&](void* temporary, size_t& bytes) {
            return cub::DeviceRadixSort::SortPairs(temporary, bytes, keys, sorted.keys, values, sorted.values, n, 0,
                                                   bits, workspace.stream());
        });
    return sorted;
}

int64_t selectFlagged(Workspace& workspace, const uint8_t* flags, int64_t* out, int64_t n) {
    if (n <= 0) return 0;
    int64_t* count = workspace.allocate<int64_t>(1);
    withTemporary(workspace, "compaction", [&](void* temporary, size_t& bytes) {
        return cub::DeviceSelect::Flagged(temporary, bytes, thrust::counting_iterator<int64_t>(0), flags, out, count, n,
                                          workspace.stream());
    });
    const int64_t selected = readBack(workspace, count);
    workspace.release(count);
    return selected;
}

}  // namespace ovoxel
