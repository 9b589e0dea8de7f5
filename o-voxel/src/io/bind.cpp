// Bindings of the file codecs.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <vector>

#include "io/svo.h"

namespace nb = nanobind;

namespace ovoxel {
namespace {

using Codes = nb::ndarray<nb::numpy, int32_t, nb::ndim<1>>;

Codes decodeOctreeBinding(const nb::bytes& data, int depth, int64_t maxLeaves) {
    auto* codes = new std::vector<int32_t>;
    const nb::capsule owner(codes, [](void* p) noexcept { delete static_cast<std::vector<int32_t>*>(p); });
    {
        const auto* bytes = reinterpret_cast<const uint8_t*>(data.c_str());
        const auto size = static_cast<int64_t>(data.size());
        const nb::gil_scoped_release release;
        *codes = decodeOctree(bytes, size, depth, maxLeaves);
    }
    return Codes(codes->data(), {codes->size()}, owner);
}

}  // namespace

void bindIo(nb::module_& m) {
    m.def("decode_octree", &decodeOctreeBinding, nb::arg("data"), nb::arg("depth"), nb::arg("max_leaves"),
          "Leaf codes int32 [N], ascending, of pre-order octree bytes; ValueError on malformed bytes.");
}

}  // namespace ovoxel
