#include "serialize/curves.h"

#include "common/launch.h"

namespace ovoxel {

void encodeOnDevice(const Workspace& workspace, const EncodeBody& body, int64_t n) {
    launchFor(workspace, n, body, "curve encoding");
}

void decodeOnDevice(const Workspace& workspace, const DecodeBody& body, int64_t n) {
    launchFor(workspace, n, body, "curve decoding");
}

}  // namespace ovoxel
