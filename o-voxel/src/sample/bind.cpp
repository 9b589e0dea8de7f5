// Bindings of sparse sampling. Arrays are C-contiguous; results are bytes of new memory (NumPy, or tensors on a GPU).
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>

#include <tuple>

#include "common/array.h"
#include "common/host_workspace.h"
#include "sample/sparse_sample.h"
#ifdef OVOXEL_WITH_CUDA
#include "common/tensor_workspace.h"
#endif

namespace nb = nanobind;

namespace ovoxel {
namespace {

using Size = std::tuple<int64_t, int64_t, int64_t, int64_t>;  // batches, x, y, z

template <class Device>
using Coords = nb::ndarray<const int32_t, nb::c_contig, Device, nb::shape<-1, 4>>;
template <class Device>
using Slots = nb::ndarray<const uint8_t, nb::c_contig, Device, nb::shape<-1>>;
template <class Device>
using Points = nb::ndarray<const float, nb::c_contig, Device, nb::shape<-1, 3>>;
template <class Device>
using Matrix = nb::ndarray<nb::ro, nb::c_contig, Device, nb::ndim<2>>;

Extent checkedShape(const Size& size) {
    const Extent shape{std::get<0>(size), std::get<1>(size), std::get<2>(size), std::get<3>(size)};
    for (const int64_t extent : {shape.batches, shape.x, shape.y, shape.z})
        if (extent < 0 || extent > (int64_t{1} << 30)) throw nb::value_error("sizes must be in [0, 2^30]");
    return shape;
}

template <class Device>
VoxelTable tableOf(const Coords<Device>& coords, const Slots<Device>& slots, const Size& size) {
    const int64_t capacity = indexCapacity(static_cast<int64_t>(coords.shape(0)));
    if (slots.shape(0) < sizeof(VoxelTable::Slot) * static_cast<size_t>(capacity))
        throw nb::value_error("slots are not those of coords");
    auto* memory = reinterpret_cast<VoxelTable::Slot*>(const_cast<uint8_t*>(slots.data()));
    return {coords.data(), 4, checkedShape(size), memory, capacity};
}

template <class Device>
SampleQueries queriesOf(const Points<Device>& points, const Size& size, bool nearest, bool truncate, bool normalize) {
    const Extent shape = checkedShape(size);
    const auto count = static_cast<int64_t>(points.shape(0));
    if (count > 0 && (shape.batches == 0 || count % shape.batches != 0))
        throw nb::value_error("points must be a multiple of the batches");
    return {shape, {nearest, truncate, normalize}, points.data(), shape.batches ? count / shape.batches : 0};
}

template <class Array>
Element elementOf(const Array& array) {
    const nb::dlpack::dtype type = array.dtype();
    if (type == nb::dtype<float>()) return Element::kFloat32;
    if (type.code == static_cast<uint8_t>(nb::dlpack::dtype_code::Float) && type.bits == 16) return Element::kFloat16;
    if (type.code == static_cast<uint8_t>(nb::dlpack::dtype_code::Bfloat) && type.bits == 16) return Element::kBfloat16;
    throw nb::value_error("features must be float32, float16 or bfloat16");
}

template <class Space, class Device, class Build>
nb::object build(Space& workspace, const Coords<Device>& coords, const Size& size, Build run) {
    const Extent shape = checkedShape(size);
    const auto n = static_cast<int64_t>(coords.shape(0));
    if (n >= int64_t{1} << 31) throw nb::value_error("coords must have fewer than 2^31 rows");
    VoxelTable::Slot* slots;
    {
        const nb::gil_scoped_release release;
        slots = run(workspace, coords.data(), n, shape);
    }
    return workspace.take(slots);
}

using Host = nb::device::cpu;
template <class T>
using HostRows = nb::ndarray<const T, nb::c_contig, Host, nb::ndim<2>>;

nb::object samplePy(HostRows<float> feats, Coords<Host> coords, Slots<Host> slots, Size size, Points<Host> points,
                    bool nearest, bool truncate, bool normalize) {
    if (feats.shape(0) != coords.shape(0)) throw nb::value_error("feats and coords differ in length");
    const VoxelTable table = tableOf(coords, slots, size);
    const SampleQueries queries = queriesOf(points, size, nearest, truncate, normalize);
    const auto channels = static_cast<int64_t>(feats.shape(1));
    HostWorkspace workspace;
    float* out = workspace.allocate<float>(queries.count() * channels);
    {
        const nb::gil_scoped_release release;
        sampleFeatures(table, queries, feats.data(), channels, out);
    }
    return workspace.take(out);
}

nb::object backwardPy(HostRows<float> gradOut, Coords<Host> coords, Slots<Host> slots, Size size, Points<Host> points,
                      bool nearest, bool truncate, bool normalize) {
    if (gradOut.shape(0) != points.shape(0)) throw nb::value_error("grad_out and points differ in length");
    const VoxelTable table = tableOf(coords, slots, size);
    const SampleQueries queries = queriesOf(points, size, nearest, truncate, normalize);
    const auto n = static_cast<int64_t>(coords.shape(0)), channels = static_cast<int64_t>(gradOut.shape(1));
    HostWorkspace workspace;
    float* gradFeats = workspace.allocate<float>(n * channels);
    {
        const nb::gil_scoped_release release;
        sampleBackward(workspace, table, n, queries, gradOut.data(), channels, gradFeats);
    }
    return workspace.take(gradFeats);
}

#ifdef OVOXEL_WITH_CUDA
using Cuda = nb::device::cuda;

nb::object sampleCudaPy(Matrix<Cuda> feats, Coords<Cuda> coords, Slots<Cuda> slots, Size size, Points<Cuda> points,
                        bool nearest, bool truncate, bool normalize, nb::tuple launch) {
    if (feats.shape(0) != coords.shape(0)) throw nb::value_error("feats and coords differ in length");
    const Element element = elementOf(feats);
    const VoxelTable table = tableOf(coords, slots, size);
    const SampleQueries queries = queriesOf(points, size, nearest, truncate, normalize);
    const auto channels = static_cast<int64_t>(feats.shape(1));
    TensorWorkspace workspace(launch);
    void* out = workspace.allocate(static_cast<size_t>(queries.count() * channels) * feats.itemsize() + 1);
    sampleFeaturesOnDevice(workspace, table, queries, element, feats.data(), channels, out);
    return workspace.take(out);
}

nb::object backwardCudaPy(Matrix<Cuda> gradOut, Coords<Cuda> coords, Slots<Cuda> slots, Size size, Points<Cuda> points,
                          bool nearest, bool truncate, bool normalize, bool ordered, nb::tuple launch) {
    if (gradOut.shape(0) != points.shape(0)) throw nb::value_error("grad_out and points differ in length");
    const Element element = elementOf(gradOut);
    const VoxelTable table = tableOf(coords, slots, size);
    const SampleQueries queries = queriesOf(points, size, nearest, truncate, normalize);
    const auto n = static_cast<int64_t>(coords.shape(0)), channels = static_cast<int64_t>(gradOut.shape(1));
    TensorWorkspace workspace(launch);
    float* gradFeats = workspace.allocate<float>(n * channels);
    sampleBackwardOnDevice(workspace, table, n, queries, element, gradOut.data(), channels, ordered, gradFeats);
    return workspace.take(gradFeats);
}
#endif

}  // namespace

void bindSample(nb::module_& m) {
    using namespace nb::literals;
    m.def("voxel_table", [](Coords<Host> coords, Size size) {
        HostWorkspace workspace;
        return build(workspace, coords, size, buildTable);
    }, "coords"_a.noconvert(), "size"_a,
       "Look-up table of coords int32 [N, 4] (batch, x, y, z) in size (batches, x, y, z), as bytes.");
    m.def("sample_sparse", &samplePy, "feats"_a.noconvert(), "coords"_a.noconvert(), "slots"_a.noconvert(), "size"_a,
          "points"_a.noconvert(), "nearest"_a, "truncate"_a, "normalize"_a,
          "Sample feats [N, C] at points [B * L, 3]: bytes of [B * L, C].");
    m.def("sample_sparse_backward", &backwardPy, "grad_out"_a.noconvert(), "coords"_a.noconvert(), "slots"_a.noconvert(),
          "size"_a, "points"_a.noconvert(), "nearest"_a, "truncate"_a, "normalize"_a,
          "Gradient by feats from grad_out [B * L, C]: bytes of float32 [N, C].");
#ifdef OVOXEL_WITH_CUDA
    m.def("voxel_table_cuda", [](Coords<Cuda> coords, Size size, nb::tuple launch) {
        TensorWorkspace workspace(launch);
        return build(workspace, coords, size, buildTableOnDevice);
    }, "coords"_a.noconvert(), "size"_a, "launch"_a, "voxel_table on a GPU.");
    m.def("sample_sparse_cuda", &sampleCudaPy, "feats"_a.noconvert(), "coords"_a.noconvert(), "slots"_a.noconvert(),
          "size"_a, "points"_a.noconvert(), "nearest"_a, "truncate"_a, "normalize"_a, "launch"_a,
          "sample_sparse on a GPU; features float32, float16 or bfloat16, results alike.");
    m.def("sample_sparse_backward_cuda", &backwardCudaPy, "grad_out"_a.noconvert(), "coords"_a.noconvert(),
          "slots"_a.noconvert(), "size"_a, "points"_a.noconvert(), "nearest"_a, "truncate"_a, "normalize"_a, "ordered"_a,
          "launch"_a, "sample_sparse_backward on a GPU; `ordered` sums in one order, else with atomics.");
#endif
}

}  // namespace ovoxel
