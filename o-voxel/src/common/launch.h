// Launching device code: error checks, a parallel for, and reading a few values back. For .cu files only.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "common/device.h"

namespace ovoxel {

inline void checkCuda(cudaError_t status, const char* what) {
    if (status != cudaSuccess)
        throw std::runtime_error(std::string(what) + ": CUDA error " + cudaGetErrorName(status) + ", " +
                                 cudaGetErrorString(status));
}

// Call right after <<<>>>: reports a launch that was refused, without waiting for it.
inline void checkLaunch(const char* what) { checkCuda(cudaGetLastError(), what); }

template <class Body>
__global__ void __launch_bounds__(256) forEachKernel(int64_t n, Body body) {
    const int64_t step = int64_t{256} * gridDim.x;
    for (int64_t i = int64_t{256} * blockIdx.x + threadIdx.x; i < n; i += step) body(i);
}

// body(i) for i in [0, n), one thread an index; body is a __device__ or OVOXEL_HD callable held by value.
template <class Body>
void launchFor(const Workspace& workspace, int64_t n, Body body, const char* what) {
    if (n <= 0) return;
    const int64_t blocks = std::min<int64_t>((n + 255) / 256, int64_t{1} << 30);
    forEachKernel<<<static_cast<unsigned>(blocks), 256, 0, workspace.stream()>>>(n, body);
    checkLaunch(what);
}

template <class T>
void fillZero(const Workspace& workspace, T* values, int64_t count) {
    if (count > 0) checkCuda(cudaMemsetAsync(values, 0, sizeof(T) * count, workspace.stream()), "memset");
}

// Copies count values to the host and waits for them: the only place where the device path blocks.
template <class T>
void readBack(const Workspace& workspace, const T* values, T* host, int64_t count) {
    checkCuda(cudaMemcpyAsync(host, values, sizeof(T) * count, cudaMemcpyDeviceToHost, workspace.stream()), "copy");
    checkCuda(cudaStreamSynchronize(workspace.stream()), "wait");
}

template <class T>
T readBack(const Workspace& workspace, const T* value) {
    T host;
    readBack(workspace, value, &host, 1);
    return host;
}

// Copies host values to new device memory. `host` may be freed on return (pageable copies are staged).
template <class T>
T* upload(Workspace& workspace, const T* host, int64_t count) {
    T* values = workspace.allocate<T>(count);
    if (count > 0)
        checkCuda(cudaMemcpyAsync(values, host, sizeof(T) * count, cudaMemcpyHostToDevice, workspace.stream()), "copy");
    return values;
}

}  // namespace ovoxel
