// Workspace over tensors of the caller: memory is asked for through a Python callable and returned as tensors.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include "common/device.h"

namespace ovoxel {

template <class T, class... Shape>
using DeviceArray = nanobind::ndarray<const T, nanobind::c_contig, nanobind::device::cuda, Shape...>;

// Made from what o_voxel._device.launch() gives: (device index, stream handle, allocate(bytes) -> uint8 tensor).
// Selects the device while it lives. Make and destroy it with the GIL held; in between calls may run without it.
class TensorWorkspace final : public Workspace {
public:
    explicit TensorWorkspace(const nanobind::tuple& launch);
    ~TensorWorkspace() override;
    TensorWorkspace(const TensorWorkspace&) = delete;
    TensorWorkspace& operator=(const TensorWorkspace&) = delete;

    using Workspace::allocate;
    void* allocate(size_t bytes) override;
    void release(void* memory) override;
    CUstream_st* stream() const override { return stream_; }

    // The uint8 tensor that holds `memory` (from allocate): a result for Python, which views it as what it is.
    nanobind::object take(const void* memory);

private:
    int previousDevice_ = 0;
    CUstream_st* stream_;
    nanobind::object allocate_;
    std::unordered_map<const void*, nanobind::object> tensors_;
};

}  // namespace ovoxel
