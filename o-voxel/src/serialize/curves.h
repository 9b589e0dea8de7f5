// Space-filling curve codes for many coordinates; the arithmetic is in curve_body.h.
#pragma once

#include <cstdint>

#include "common/device.h"
#include "common/host_device.h"
#include "serialize/curve_body.h"

namespace ovoxel {

// Code: uint32_t for up to 10 bits an axis, uint64_t for up to 21. Higher bits of a coordinate are ignored.
template <class Code>
struct EncodeBody {
    const int32_t* coords;  // [n, 3]
    Code* codes;            // [n]
    int bits;
    bool hilbert;
    OVOXEL_HD void operator()(int64_t i) const {
        const uint32_t mask = (1u << bits) - 1;
        uint32_t x[3];
        for (int a = 0; a < 3; ++a) x[a] = static_cast<uint32_t>(coords[3 * i + a]) & mask;
        codes[i] = hilbert ? hilbertEncode<Code>(x, bits) : zOrderEncode<Code>(x);
    }
};

template <class Code>
struct DecodeBody {
    const Code* codes;  // [n]
    int32_t* coords;    // [n, 3]
    int bits;
    bool hilbert;
    OVOXEL_HD void operator()(int64_t i) const {
        uint32_t x[3];
        if (hilbert)
            hilbertDecode(codes[i], x, bits);
        else
            zOrderDecode(codes[i], x);
        for (int a = 0; a < 3; ++a) coords[3 * i + a] = static_cast<int32_t>(x[a]);
    }
};

template <class Code>
void encodeOnDevice(const Workspace& workspace, const EncodeBody<Code>& body, int64_t n);
template <class Code>
void decodeOnDevice(const Workspace& workspace, const DecodeBody<Code>& body, int64_t n);

}  // namespace ovoxel
