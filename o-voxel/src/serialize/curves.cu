#include "serialize/curves.h"

#include "common/launch.h"

namespace ovoxel {

template <class Code>
void encodeOnDevice(const Workspace& workspace, const EncodeBody<Code>& body, int64_t n) {
    launchFor(workspace, n, body, "curve encoding");
}

template <class Code>
void decodeOnDevice(const Workspace& workspace, const DecodeBody<Code>& body, int64_t n) {
    launchFor(workspace, n, body, "curve decoding");
}

template void encodeOnDevice(const Workspace&, const EncodeBody<uint32_t>&, int64_t);
template void encodeOnDevice(const Workspace&, const EncodeBody<uint64_t>&, int64_t);
template void decodeOnDevice(const Workspace&, const DecodeBody<uint32_t>&, int64_t);
template void decodeOnDevice(const Workspace&, const DecodeBody<uint64_t>&, int64_t);

}  // namespace ovoxel
