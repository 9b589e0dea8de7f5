// Space-filling curves over coordinates of 1 to 21 bits: codes of three times as many bits, the first axis most
// significant. Codes of up to 30 bits are computed in 32-bit arithmetic.
// Hilbert: J. Skilling, "Programming the Hilbert curve" (2004), transposed form.
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace ovoxel {

constexpr int kMaxCurveBits = 21;       // 63-bit codes
constexpr int kMaxShortCurveBits = 10;  // 30-bit codes

// Spreads the low bits (10 or 21) so that bit b lands on bit 3b.
OVOXEL_HD inline uint32_t spreadBits(uint32_t x) {
    x &= 0x3ffu;
    x = (x | (x << 16)) & 0x030000ffu;
    x = (x | (x << 8)) & 0x0300f00fu;
    x = (x | (x << 4)) & 0x030c30c3u;
    x = (x | (x << 2)) & 0x09249249u;
    return x;
}

OVOXEL_HD inline uint64_t spreadBits(uint64_t x) {
    x &= 0x1fffffull;
    x = (x | (x << 32)) & 0x001f00000000ffffull;
    x = (x | (x << 16)) & 0x001f0000ff0000ffull;
    x = (x | (x << 8)) & 0x100f00f00f00f00full;
    x = (x | (x << 4)) & 0x10c30c30c30c30c3ull;
    x = (x | (x << 2)) & 0x1249249249249249ull;
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

OVOXEL_HD inline uint64_t gatherBits(uint64_t x) {
    x &= 0x1249249249249249ull;
    x = (x | (x >> 2)) & 0x10c30c30c30c30c3ull;
    x = (x | (x >> 4)) & 0x100f00f00f00f00full;
    x = (x | (x >> 8)) & 0x001f0000ff0000ffull;
    x = (x | (x >> 16)) & 0x001f00000000ffffull;
    x = (x | (x >> 32)) & 0x1fffffull;
    return x;
}

template <class Code>
OVOXEL_HD inline Code zOrderEncode(const uint32_t x[3]) {
    return spreadBits(Code{x[0]}) << 2 | spreadBits(Code{x[1]}) << 1 | spreadBits(Code{x[2]});
}

template <class Code>
OVOXEL_HD inline void zOrderDecode(Code code, uint32_t x[3]) {
    x[0] = static_cast<uint32_t>(gatherBits(code >> 2));
    x[1] = static_cast<uint32_t>(gatherBits(code >> 1));
    x[2] = static_cast<uint32_t>(gatherBits(code));
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

template <class Code>
OVOXEL_HD inline Code hilbertEncode(const uint32_t in[3], int bits) {
    uint32_t x[3] = {in[0], in[1], in[2]};
    for (uint32_t q = 1u << (bits - 1); q > 1; q >>= 1)
        for (int i = 0; i < 3; ++i) hilbertTurn(x, i, q);
    x[1] ^= x[0];
    x[2] ^= x[1];
    uint32_t t = 0;
    for (uint32_t q = 1u << (bits - 1); q > 1; q >>= 1)
        if (x[2] & q) t ^= q - 1;
    for (int i = 0; i < 3; ++i) x[i] ^= t;
    return zOrderEncode<Code>(x);
}

template <class Code>
OVOXEL_HD inline void hilbertDecode(Code code, uint32_t x[3], int bits) {
    zOrderDecode(code, x);
    const uint32_t t = x[2] >> 1;
    x[2] ^= x[1];
    x[1] ^= x[0];
    x[0] ^= t;
    for (uint32_t q = 2; q != 1u << bits; q <<= 1)
        for (int i = 2; i >= 0; --i) hilbertTurn(x, i, q);
}

}  // namespace ovoxel
