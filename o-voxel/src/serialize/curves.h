// Space-filling curve codes for many coordinates; the bodies are in curve_body.h.
#pragma once

#include <cstdint>

#include "common/device.h"
#include "common/host_device.h"
#include "serialize/curve_body.h"

namespace ovoxel {

struct EncodeBody {
    const int32_t* coords;  // [n, 3]
    int32_t* codes;         // [n]
    bool hilbert;
    OVOXEL_HD void operator()(int64_t i) const {
        const uint32_t x[3] = {static_cast<uint32_t>(coords[3 * i]), static_cast<uint32_t>(coords[3 * i + 1]),
                               static_cast<uint32_t>(coords[3 * i + 2])};
        codes[i] = static_cast<int32_t>(hilbert ? hilbertEncode(x) : zOrderEncode(x));
    }
};

struct DecodeBody {
    const int32_t* codes;  // [n]
    int32_t* coords;       // [n, 3]
    bool hilbert;
    OVOXEL_HD void operator()(int64_t i) const {
        uint32_t x[3];
        if (hilbert)
            hilbertDecode(static_cast<uint32_t>(codes[i]), x);
        else
            zOrderDecode(static_cast<uint32_t>(codes[i]), x);
        for (int a = 0; a < 3; ++a) coords[3 * i + a] = static_cast<int32_t>(x[a]);
    }
};

void encodeOnDevice(const Workspace& workspace, const EncodeBody& body, int64_t n);
void decodeOnDevice(const Workspace& workspace, const DecodeBody& body, int64_t n);

}  // namespace ovoxel
