#ifdef OVOXEL_WITH_CUDA
#include "common/tensor_workspace.h"

#include <cuda_runtime_api.h>

#include <string>

namespace nb = nanobind;

namespace ovoxel {
namespace {

void checkCuda(cudaError_t status, const char* what) {
    if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": CUDA error " + cudaGetErrorString(status));
}

}  // namespace

TensorWorkspace::TensorWorkspace(const nb::tuple& launch)
    : stream_(reinterpret_cast<CUstream_st*>(nb::cast<uintptr_t>(launch[1]))), allocate_(launch[2]) {
    checkCuda(cudaGetDevice(&previousDevice_), "current device");
    checkCuda(cudaSetDevice(nb::cast<int>(launch[0])), "select device");
}

TensorWorkspace::~TensorWorkspace() { cudaSetDevice(previousDevice_); }

void* TensorWorkspace::allocate(size_t bytes) {
    const nb::gil_scoped_acquire gil;
    nb::object tensor = allocate_(bytes);
    void* memory = reinterpret_cast<void*>(nb::cast<uintptr_t>(tensor.attr("data_ptr")()));
    tensors_.emplace(memory, std::move(tensor));
    return memory;
}

void TensorWorkspace::release(void* memory) {
    const nb::gil_scoped_acquire gil;
    tensors_.erase(memory);
}

nb::object TensorWorkspace::take(const void* memory) {
    const auto found = tensors_.find(memory);
    if (found == tensors_.end()) throw std::logic_error("take: not memory of this workspace");
    nb::object tensor = std::move(found->second);
    tensors_.erase(found);
    return tensor;
}

}  // namespace ovoxel
#endif
