// Atomic operations on plain memory, alike on host threads and on a GPU; relaxed order.
#pragma once

#include <cstdint>

#include "common/host_device.h"

#if !defined(__CUDA_ARCH__)
#include <atomic>
#endif

namespace ovoxel {

namespace detail {

using DeviceWord = unsigned long long;  // what CUDA's 64-bit atomics take
static_assert(sizeof(DeviceWord) == sizeof(uint64_t));

OVOXEL_HD inline DeviceWord* deviceWord(uint64_t* at) { return reinterpret_cast<DeviceWord*>(at); }

}  // namespace detail

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

// As above, 64 bits wide.
OVOXEL_HD inline uint64_t atomicCompareSwap(uint64_t* at, uint64_t expected, uint64_t desired) {
#ifdef __CUDA_ARCH__
    return atomicCAS(detail::deviceWord(at), detail::DeviceWord{expected}, detail::DeviceWord{desired});
#else
    reinterpret_cast<std::atomic<uint64_t>*>(at)->compare_exchange_strong(expected, desired, std::memory_order_relaxed);
    return expected;
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

OVOXEL_HD inline void atomicMinimum(uint64_t* at, uint64_t value) {
#ifdef __CUDA_ARCH__
    atomicMin(detail::deviceWord(at), detail::DeviceWord{value});
#else
    auto* shared = reinterpret_cast<std::atomic<uint64_t>*>(at);
    uint64_t held = shared->load(std::memory_order_relaxed);
    while (value < held && !shared->compare_exchange_weak(held, value, std::memory_order_relaxed)) {
    }
#endif
}

OVOXEL_HD inline void atomicMaximum(uint64_t* at, uint64_t value) {
#ifdef __CUDA_ARCH__
    atomicMax(detail::deviceWord(at), detail::DeviceWord{value});
#else
    auto* shared = reinterpret_cast<std::atomic<uint64_t>*>(at);
    uint64_t held = shared->load(std::memory_order_relaxed);
    while (value > held && !shared->compare_exchange_weak(held, value, std::memory_order_relaxed)) {
    }
#endif
}

OVOXEL_HD inline void atomicSetBits(uint64_t* at, uint64_t bits) {
#ifdef __CUDA_ARCH__
    atomicOr(detail::deviceWord(at), detail::DeviceWord{bits});
#else
    reinterpret_cast<std::atomic<uint64_t>*>(at)->fetch_or(bits, std::memory_order_relaxed);
#endif
}

OVOXEL_HD inline void atomicFlipBits(uint64_t* at, uint64_t bits) {
#ifdef __CUDA_ARCH__
    atomicXor(detail::deviceWord(at), detail::DeviceWord{bits});
#else
    reinterpret_cast<std::atomic<uint64_t>*>(at)->fetch_xor(bits, std::memory_order_relaxed);
#endif
}

}  // namespace ovoxel
