#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "common/host_workspace.h"
#include "common/parallel.h"
#include "serialize/curves.h"
#ifdef OVOXEL_WITH_CUDA
#include "common/tensor_workspace.h"
#endif

namespace nb = nanobind;

namespace ovoxel {
namespace {

template <class Device>
using Coords = nb::ndarray<const int32_t, nb::c_contig, Device, nb::shape<-1, 3>>;
template <class Device, class T>
using Codes = nb::ndarray<const T, nb::c_contig, Device, nb::shape<-1>>;

template <class Body>
void runOnHost(const Workspace&, const Body& body, int64_t n) {
    parallelFor(n, 65536, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) body(i);
    });
}

void checkBits(int bits, int most) {
    if (bits < 1 || bits > most) throw nb::value_error("bits must be 1 to 10 for 32-bit codes, 1 to 21 for 64-bit ones");
}

// Signed: what Python sees. The bits are those of the unsigned code.
template <class Code, class Space, class Device, class Run>
nb::object encode(Space& workspace, const Coords<Device>& coords, bool hilbert, int bits, Run run) {
    checkBits(bits, sizeof(Code) == 4 ? kMaxShortCurveBits : kMaxCurveBits);
    const auto n = static_cast<int64_t>(coords.shape(0));
    Code* codes = workspace.template allocate<Code>(n);
    {
        const nb::gil_scoped_release release;
        run(workspace, EncodeBody<Code>{coords.data(), codes, bits, hilbert}, n);
    }
    return workspace.take(codes);
}

template <class Code, class Space, class Array, class Run>
nb::object decode(Space& workspace, const Array& codes, bool hilbert, int bits, Run run) {
    checkBits(bits, sizeof(Code) == 4 ? kMaxShortCurveBits : kMaxCurveBits);
    const auto n = static_cast<int64_t>(codes.shape(0));
    int32_t* coords = workspace.template allocate<int32_t>(3 * n);
    {
        const nb::gil_scoped_release release;
        run(workspace, DecodeBody<Code>{reinterpret_cast<const Code*>(codes.data()), coords, bits, hilbert}, n);
    }
    return workspace.take(coords);
}

using Host = nb::device::cpu;

nb::object encodePy(Coords<Host> coords, bool hilbert, int bits) {
    HostWorkspace workspace;
    if (bits <= kMaxShortCurveBits)
        return encode<uint32_t>(workspace, coords, hilbert, bits, runOnHost<EncodeBody<uint32_t>>);
    return encode<uint64_t>(workspace, coords, hilbert, bits, runOnHost<EncodeBody<uint64_t>>);
}

template <class Signed, class Code>
void bindDecode(nb::module_& m) {
    using namespace nb::literals;
    m.def("curve_decode", [](Codes<Host, Signed> codes, bool hilbert, int bits) {
        HostWorkspace workspace;
        return decode<Code>(workspace, codes, hilbert, bits, runOnHost<DecodeBody<Code>>);
    }, "codes"_a.noconvert(), "hilbert"_a, "bits"_a, "int32 or int64 codes [N] -> bytes of int32 [N, 3].");
#ifdef OVOXEL_WITH_CUDA
    m.def("curve_decode_cuda", [](Codes<nb::device::cuda, Signed> codes, bool hilbert, int bits, nb::tuple launch) {
        TensorWorkspace workspace(launch);
        return decode<Code>(workspace, codes, hilbert, bits, decodeOnDevice<Code>);
    }, "codes"_a.noconvert(), "hilbert"_a, "bits"_a, "launch"_a, "curve_decode on a GPU.");
#endif
}

#ifdef OVOXEL_WITH_CUDA
nb::object encodeCudaPy(Coords<nb::device::cuda> coords, bool hilbert, int bits, nb::tuple launch) {
    TensorWorkspace workspace(launch);
    if (bits <= kMaxShortCurveBits)
        return encode<uint32_t>(workspace, coords, hilbert, bits, encodeOnDevice<uint32_t>);
    return encode<uint64_t>(workspace, coords, hilbert, bits, encodeOnDevice<uint64_t>);
}
#endif

}  // namespace

void bindSerialize(nb::module_& m) {
    using namespace nb::literals;
    m.def("curve_encode", &encodePy, "coords"_a.noconvert(), "hilbert"_a, "bits"_a,
          "int32 [N, 3] -> bytes of codes [N]: int32 for up to 10 bits an axis, else int64.");
    bindDecode<int32_t, uint32_t>(m);
    bindDecode<int64_t, uint64_t>(m);
#ifdef OVOXEL_WITH_CUDA
    m.def("curve_encode_cuda", &encodeCudaPy, "coords"_a.noconvert(), "hilbert"_a, "bits"_a, "launch"_a,
          "curve_encode on a GPU.");
#endif
}

}  // namespace ovoxel
