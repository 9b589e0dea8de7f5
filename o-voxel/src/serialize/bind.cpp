#include <nanobind/nanobind.h>

#include "common/array.h"
#include "common/parallel.h"
#include "serialize/curve_body.h"

namespace nb = nanobind;

namespace ovoxel {
namespace {

nb::ndarray<nb::numpy, int32_t> encodePy(HostArray<int32_t, nb::shape<-1, 3>> coords, bool hilbert) {
    const int64_t n = static_cast<int64_t>(coords.shape(0));
    std::vector<int32_t> codes(static_cast<size_t>(n));
    {
        nb::gil_scoped_release release;
        const int32_t* in = coords.data();
        parallelFor(n, 65536, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
                const uint32_t x[3] = {static_cast<uint32_t>(in[3 * i]), static_cast<uint32_t>(in[3 * i + 1]),
                                       static_cast<uint32_t>(in[3 * i + 2])};
                codes[i] = static_cast<int32_t>(hilbert ? hilbertEncode(x) : zOrderEncode(x));
            }
        });
    }
    return toNumpy(std::move(codes), {static_cast<size_t>(n)});
}

nb::ndarray<nb::numpy, int32_t> decodePy(HostArray<int32_t, nb::shape<-1>> codes, bool hilbert) {
    const int64_t n = static_cast<int64_t>(codes.shape(0));
    std::vector<int32_t> coords(static_cast<size_t>(3 * n));
    {
        nb::gil_scoped_release release;
        const int32_t* in = codes.data();
        parallelFor(n, 65536, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
                uint32_t x[3];
                if (hilbert)
                    hilbertDecode(static_cast<uint32_t>(in[i]), x);
                else
                    zOrderDecode(static_cast<uint32_t>(in[i]), x);
                for (int a = 0; a < 3; ++a) coords[3 * i + a] = static_cast<int32_t>(x[a]);
            }
        });
    }
    return toNumpy(std::move(coords), {static_cast<size_t>(n), 3});
}

}  // namespace

void bindSerialize(nb::module_& m) {
    m.def("curve_encode", &encodePy, nb::arg("coords"), nb::arg("hilbert"), "int32 [N, 3] -> int32 codes [N].");
    m.def("curve_decode", &decodePy, nb::arg("codes"), nb::arg("hilbert"), "int32 codes [N] -> int32 [N, 3].");
}

}  // namespace ovoxel
