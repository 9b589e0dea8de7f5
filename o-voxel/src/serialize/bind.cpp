#include <nanobind/nanobind.h>

#include "common/array.h"
#include "common/parallel.h"
#include "serialize/curves.h"
#ifdef OVOXEL_WITH_CUDA
#include "common/tensor_workspace.h"
#endif

namespace nb = nanobind;

namespace ovoxel {
namespace {

template <class Body>
void runOnHost(const Body& body, int64_t n) {
    const nb::gil_scoped_release release;
    parallelFor(n, 65536, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) body(i);
    });
}

nb::ndarray<nb::numpy, int32_t> encodePy(HostArray<int32_t, nb::shape<-1, 3>> coords, bool hilbert) {
    const size_t n = coords.shape(0);
    std::vector<int32_t> codes(n);
    runOnHost(EncodeBody{coords.data(), codes.data(), hilbert}, static_cast<int64_t>(n));
    return toNumpy(std::move(codes), {n});
}

nb::ndarray<nb::numpy, int32_t> decodePy(HostArray<int32_t, nb::shape<-1>> codes, bool hilbert) {
    const size_t n = codes.shape(0);
    std::vector<int32_t> coords(3 * n);
    runOnHost(DecodeBody{codes.data(), coords.data(), hilbert}, static_cast<int64_t>(n));
    return toNumpy(std::move(coords), {n, 3});
}

#ifdef OVOXEL_WITH_CUDA
nb::object encodeCudaPy(DeviceArray<int32_t, nb::shape<-1, 3>> coords, bool hilbert, nb::tuple launch) {
    TensorWorkspace workspace(launch);
    const int64_t n = static_cast<int64_t>(coords.shape(0));
    int32_t* codes = workspace.allocate<int32_t>(n);
    encodeOnDevice(workspace, {coords.data(), codes, hilbert}, n);
    return workspace.take(codes);
}

nb::object decodeCudaPy(DeviceArray<int32_t, nb::shape<-1>> codes, bool hilbert, nb::tuple launch) {
    TensorWorkspace workspace(launch);
    const int64_t n = static_cast<int64_t>(codes.shape(0));
    int32_t* coords = workspace.allocate<int32_t>(3 * n);
    decodeOnDevice(workspace, {codes.data(), coords, hilbert}, n);
    return workspace.take(coords);
}
#endif

}  // namespace

void bindSerialize(nb::module_& m) {
    m.def("curve_encode", &encodePy, nb::arg("coords"), nb::arg("hilbert"), "int32 [N, 3] -> int32 codes [N].");
    m.def("curve_decode", &decodePy, nb::arg("codes"), nb::arg("hilbert"), "int32 codes [N] -> int32 [N, 3].");
#ifdef OVOXEL_WITH_CUDA
    m.def("curve_encode_cuda", &encodeCudaPy, nb::arg("coords"), nb::arg("hilbert"), nb::arg("launch"),
          "The same on a GPU; returns the bytes of int32 [N].");
    m.def("curve_decode_cuda", &decodeCudaPy, nb::arg("codes"), nb::arg("hilbert"), nb::arg("launch"),
          "The same on a GPU; returns the bytes of int32 [N, 3].");
#endif
}

}  // namespace ovoxel
