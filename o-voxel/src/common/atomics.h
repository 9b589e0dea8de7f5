// Atomic operations on plain memory, alike on host threads and on a GPU; relaxed order.
#pragma once

#include <cstdint>

#include "common/host_device.h"

#if !defined(__CUDA_ARCH__)
#include <atomic>
#endif

namespace ovoxel {

// Adds and returns the value before.
OVOXEL_HD inline uint32_t atomicFetchAdd(uint32_t* at, uint32_t value) {
#ifdef __CUDA_ARCH__
    return atomicAdd(at, value);
#else
    return reinterpret_cast<std::atomic<uint32_t>*>(at)->fetch_add(value, std::memory_order_relaxed);
#endif
}

// Writes `desired` where `expected` is; returns what was there.
OVOXEL_HD inline uint32_t atomicCompareSwap(uint32_t* at, uint32_t expected, uint32_t desired) {
#ifdef __CUDA_ARCH__
    return atomicCAS(at, expected, desired);
#else
    reinterpret_cast<std::atomic<uint32_t>*>(at)->compare_exchange_strong(expected, desired, std::memory_order_relaxed);
    return expected;
#endif
}

OVOXEL_HD inline uint32_t atomicLoad(const uint32_t* at) {
#ifdef __CUDA_ARCH__
    return *static_cast<const volatile uint32_t*>(at);
#else
    return reinterpret_cast<const std::atomic<uint32_t>*>(at)->load(std::memory_order_relaxed);
#endif
}

OVOXEL_HD inline void atomicStore(uint32_t* at, uint32_t value) {
#ifdef __CUDA_ARCH__
    *static_cast<volatile uint32_t*>(at) = value;
#else
    reinterpret_cast<std::atomic<uint32_t>*>(at)->store(value, std::memory_order_relaxed);
#endif
}

OVOXEL_HD inline void atomicMinimum(uint32_t* at, uint32_t value) {
    uint32_t held = atomicLoad(at);
    while (value < held) {
        const uint32_t before = atomicCompareSwap(at, held, value);
        if (before == held) return;
        held = before;
    }
}

}  // namespace ovoxel
