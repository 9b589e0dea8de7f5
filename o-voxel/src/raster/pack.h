// Several neighbouring channels read or written in one instruction on the device.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "common/host_device.h"

namespace ovoxel {

template <int N>
struct alignas(4 * N) Pack {
    float v[N];
};

// Channels (4, 2 or 1) that can be taken together: they must divide the row, and every row must start aligned.
inline int packWidth(int64_t channels, std::initializer_list<const void*> tables) {
    uintptr_t bits = 0;
    for (const void* table : tables) bits |= reinterpret_cast<uintptr_t>(table);
    return channels % 4 == 0 && bits % 16 == 0 ? 4 : channels % 2 == 0 && bits % 8 == 0 ? 2 : 1;
}

template <int N>
OVOXEL_HD inline Pack<N> loadPack(const float* from) {
    return *reinterpret_cast<const Pack<N>*>(from);
}

template <int N>
OVOXEL_HD inline void storePack(float* to, const Pack<N>& value) {
    *reinterpret_cast<Pack<N>*>(to) = value;
}

}  // namespace ovoxel
