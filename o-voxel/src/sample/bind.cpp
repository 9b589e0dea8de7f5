// Bindings of sparse sampling. Arrays are C-contiguous CPU views; results go into preallocated outputs.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>

#include <stdexcept>
#include <tuple>

#include "sample/sparse_sample.h"

namespace nb = nanobind;

namespace ovoxel {
namespace {

template <class T, int N>
using View = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
using Size = std::tuple<int64_t, int64_t, int64_t>;

SparseShape checkedShape(const View<const int32_t, 2>& coords, const View<const float, 3>& points, const Size& size) {
    const SparseShape shape{static_cast<int64_t>(points.shape(0)), std::get<0>(size), std::get<1>(size),
                            std::get<2>(size)};
    if (coords.shape(1) != 4 || points.shape(2) != 3) throw std::invalid_argument("expected coords [N, 4], points [B, L, 3]");
    if (coords.shape(0) >= (size_t{1} << 31)) throw std::invalid_argument("coords must have fewer than 2^31 rows");
    constexpr int64_t kMaxColumns = int64_t{1} << 27;
    const auto bounded = [](int64_t n) { return n >= 0 && n <= kMaxColumns; };
    if (!bounded(shape.batches) || !bounded(shape.sizeX) || !bounded(shape.sizeY) || !bounded(shape.sizeZ) ||
        !bounded(shape.sizeX * shape.sizeY) || !bounded(shape.batches * shape.sizeX * shape.sizeY))
        throw std::invalid_argument("batches * size x * size y must be at most 2^27");
    return shape;
}

void sampleBinding(const View<const float, 2>& feats, const View<const int32_t, 2>& coords, const Size& size,
                   const View<const float, 3>& points, const View<float, 3>& out, bool nearest, bool truncate,
                   bool normalize) {
    const SparseShape shape = checkedShape(coords, points, size);
    if (feats.shape(0) != coords.shape(0) || out.shape(0) != points.shape(0) || out.shape(1) != points.shape(1) ||
        out.shape(2) != feats.shape(1))
        throw std::invalid_argument("expected feats [N, C] and out [B, L, C]");
    const nb::gil_scoped_release release;
    const ColumnIndex voxels(coords.data(), static_cast<int64_t>(coords.shape(0)), shape);
    sampleFeatures(voxels, shape, points.data(), static_cast<int64_t>(points.shape(1)), {nearest, truncate, normalize},
                   feats.data(), static_cast<int64_t>(feats.shape(1)), out.data());
}

void locateBinding(const View<const int32_t, 2>& coords, const Size& size, const View<const float, 3>& points,
                   const View<int32_t, 2>& index, const View<float, 2>& weight, bool nearest, bool truncate,
                   bool normalize) {
    const SparseShape shape = checkedShape(coords, points, size);
    const size_t rows = points.shape(0) * points.shape(1), corners = nearest ? 1 : 8;
    if (index.shape(0) != rows || weight.shape(0) != rows || index.shape(1) != corners || weight.shape(1) != corners)
        throw std::invalid_argument("expected index and weight [B * L, 1 or 8]");
    const nb::gil_scoped_release release;
    const ColumnIndex voxels(coords.data(), static_cast<int64_t>(coords.shape(0)), shape);
    locateSamples(voxels, shape, points.data(), static_cast<int64_t>(points.shape(1)), {nearest, truncate, normalize},
                  index.data(), weight.data());
}

}  // namespace

void bindSample(nb::module_& m) {
    m.def("sample_sparse", &sampleBinding, nb::arg("feats"), nb::arg("coords"), nb::arg("size"), nb::arg("points"),
          nb::arg("out"), nb::arg("nearest"), nb::arg("truncate"), nb::arg("normalize"),
          "Sample sparse voxels feats [N,C] at points [B,L,3] into out [B,L,C].");
    m.def("locate_sparse", &locateBinding, nb::arg("coords"), nb::arg("size"), nb::arg("points"), nb::arg("index"),
          nb::arg("weight"), nb::arg("nearest"), nb::arg("truncate"), nb::arg("normalize"),
          "Voxel rows (-1: absent) and weights of points [B,L,3] into index and weight [B*L, 1 or 8].");
}

}  // namespace ovoxel
