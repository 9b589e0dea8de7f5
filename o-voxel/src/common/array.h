// Array types that cross into Python: contiguous host arrays in, owning NumPy arrays out.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

namespace ovoxel {

template <class T, class... Shape>
using HostArray = nanobind::ndarray<const T, nanobind::c_contig, nanobind::device::cpu, Shape...>;

// Moves a vector into a NumPy array of the given shape; needs the GIL.
template <class T>
nanobind::ndarray<nanobind::numpy, T> toNumpy(std::vector<T>&& values, std::initializer_list<size_t> shape) {
    auto* owned = new std::vector<T>(std::move(values));
    nanobind::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return nanobind::ndarray<nanobind::numpy, T>(owned->data(), shape, owner);
}

// The same for an array from new T[n], which, unlike a vector, was not filled before it was written.
template <class T>
nanobind::ndarray<nanobind::numpy, T> toNumpy(std::unique_ptr<T[]>&& values, std::initializer_list<size_t> shape) {
    T* data = values.release();
    nanobind::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    return nanobind::ndarray<nanobind::numpy, T>(data, shape, owner);
}

}  // namespace ovoxel
