// Space-filling curves over 10-bit coordinates: 30-bit codes, the first axis most significant.
// Hilbert: J. Skilling, "Programming the Hilbert curve" (2004), transposed form.
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace ovoxel {

constexpr int kCurveBits = 10;

// Spreads the low 10 bits so that bit b lands on bit 3b.
OVOXEL_HD inline uint32_t spreadBits(uint32_t x) {
    x &= 0x3ffu;
    x = (x | (x << 16)) & 0x030000ffu;
    x = (x | (x << 8)) & 0x0300f00fu;
    x = (x | (x << 4)) & 0x030c30c3u;
    x = (x | (x << 2)) & 0x09249249u;
    return x;
}

OVOXEL_HD inline uint32_t gatherBits(uint32_t x) {
    x &= 0x09249249u;
    x = (x | (x >> 2)) & 0x030c30c3u;
    x = (x | (x >> 4)) & 0x0300f00fu;
    x = (x | (x >> 8)) & 0x030000ffu;
    x = (x | (x >> 16)) & 0x3ffu;
    return x;
}

OVOXEL_HD inline uint32_t zOrderEncode(const uint32_t x[3]) {
    return spreadBits(x[0]) << 2 | spreadBits(x[1]) << 1 | spreadBits(x[2]);
}

OVOXEL_HD inline void zOrderDecode(uint32_t code, uint32_t x[3]) {
    x[0] = gatherBits(code >> 2);
    x[1] = gatherBits(code >> 1);
    x[2] = gatherBits(code);
}

// Inverts the low bits of x[0], or exchanges them with those of x[i].
OVOXEL_HD inline void hilbertTurn(uint32_t x[3], int i, uint32_t q) {
    const uint32_t p = q - 1;
    if (x[i] & q) {
        x[0] ^= p;
    } else {
        const uint32_t t = (x[0] ^ x[i]) & p;
        x[0] ^= t;
        x[i] ^= t;
    }
}

OVOXEL_HD inline uint32_t hilbertEncode(const uint32_t in[3]) {
    uint32_t x[3] = {in[0] & 0x3ffu, in[1] & 0x3ffu, in[2] & 0x3ffu};
    for (uint32_t q = 1u << (kCurveBits - 1); q > 1; q >>= 1)
        for (int i = 0; i < 3; ++i) hilbertTurn(x, i, q);
    x[1] ^= x[0];
    x[2] ^= x[1];
    uint32_t t = 0;
    for (uint32_t q = 1u << (kCurveBits - 1); q > 1; q >>= 1)
        if (x[2] & q) t ^= q - 1;
    for (int i = 0; i < 3; ++i) x[i] ^= t;
    return zOrderEncode(x);
}

OVOXEL_HD inline void hilbertDecode(uint32_t code, uint32_t x[3]) {
    zOrderDecode(code, x);
    const uint32_t t = x[2] >> 1;
    x[2] ^= x[1];
    x[1] ^= x[0];
    x[0] ^= t;
    for (uint32_t q = 2; q != 1u << kCurveBits; q <<= 1)
        for (int i = 2; i >= 0; --i) hilbertTurn(x, i, q);
}

}  // namespace ovoxel
