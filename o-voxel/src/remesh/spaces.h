// Where a binding of the remeshing topic works: host or GPU memory, and the arrays it takes.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <cstdint>
#include <optional>

#include "remesh/remesh.h"
#ifdef OVOXEL_WITH_CUDA
#include "common/tensor_workspace.h"
#endif

namespace ovoxel::remesh {

using Launch = std::optional<nanobind::tuple>;  // what o_voxel._device.launch() gives; none on the CPU

struct HostSpace {
    using Device = nanobind::device::cpu;
    explicit HostSpace(const Launch&) {}
    HostRun run() { return {}; }
};

#ifdef OVOXEL_WITH_CUDA
struct CudaSpace {
    using Device = nanobind::device::cuda;
    explicit CudaSpace(const Launch& launch) : workspace(launch.value()) {}
    DeviceRun run() { return {&workspace}; }
    TensorWorkspace workspace;
};
#endif

template <class Space, class T>
using ColumnOf = nanobind::ndarray<T, nanobind::shape<-1>, nanobind::c_contig, typename Space::Device>;
template <class Space, class T, int64_t width>
using RowsOf = nanobind::ndarray<T, nanobind::shape<-1, width>, nanobind::c_contig, typename Space::Device>;

// body(i) for i in [0, n) without the GIL.
template <class Space, class Body>
void eachIn(Space& space, int64_t n, const Body& body, const char* what) {
    const auto run = space.run();
    const nanobind::gil_scoped_release release;
    runEach(run, n, body, what);
}

inline void need(bool holds, const char* what) {
    if (!holds) throw nanobind::value_error(what);
}

}  // namespace ovoxel::remesh
