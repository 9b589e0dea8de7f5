// Workspace over host memory, whose results become NumPy arrays: the same calls serve CPU and CUDA.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <new>
#include <stdexcept>
#include <unordered_map>

#include "common/device.h"

namespace ovoxel {

class HostWorkspace final : public Workspace {
public:
    HostWorkspace() = default;
    HostWorkspace(const HostWorkspace&) = delete;
    HostWorkspace& operator=(const HostWorkspace&) = delete;
    ~HostWorkspace() override {
        for (const auto& [memory, bytes] : sizes_) free(memory);
    }

    using Workspace::allocate;
    void* allocate(size_t bytes) override {
        void* memory = ::operator new(bytes ? bytes : 1, kAlignment);
        sizes_.emplace(memory, bytes);
        return memory;
    }
    void release(void* memory) override {
        if (sizes_.erase(memory)) free(memory);
    }
    CUstream_st* stream() const override { return nullptr; }

    // The uint8 array that owns `memory` (from allocate) from now on. Needs the GIL.
    nanobind::object take(const void* memory) {
        const auto found = sizes_.find(const_cast<void*>(memory));
        if (found == sizes_.end()) throw std::logic_error("take: not memory of this workspace");
        const nanobind::capsule owner(found->first, [](void* p) noexcept { free(p); });
        nanobind::ndarray<nanobind::numpy, uint8_t> array(found->first, {found->second}, owner);
        sizes_.erase(found);
        return nanobind::cast(array);
    }

private:
    static constexpr std::align_val_t kAlignment{64};
    static void free(void* memory) { ::operator delete(memory, kAlignment); }
    std::unordered_map<void*, size_t> sizes_;
};

}  // namespace ovoxel
