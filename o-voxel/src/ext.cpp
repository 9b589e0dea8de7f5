// Registers every topic's bindings; holds no other code.
#include <nanobind/nanobind.h>

namespace ovoxel {
void bindConvert(nanobind::module_& m);    // src/convert: mesh -> flexible dual grid, textured mesh -> attributes
void bindDualMesh(nanobind::module_& m);   // src/dualmesh: flexible dual grid -> mesh
void bindSerialize(nanobind::module_& m);  // src/serialize: z-order and Hilbert codes
void bindIo(nanobind::module_& m);         // src/io: octree bytes of .vxz files
void bindSample(nanobind::module_& m);     // src/sample: sparse trilinear and nearest sampling
void bindRaster(nanobind::module_& m);     // src/raster: triangle rasteriser
void bindMesh(nanobind::module_& m);       // src/mesh: mesh clean-up, simplification, distance queries
void bindUnwrap(nanobind::module_& m);     // src/unwrap: charts, flattening, packing
void bindRemesh(nanobind::module_& m);     // src/remesh: solid labels of a node grid, dual contouring
}  // namespace ovoxel

NB_MODULE(_C, m) {
    m.doc() = "Native core of o_voxel. Arrays cross as DLPack / buffer views; the GIL is released in long calls.";
#ifdef OVOXEL_WITH_CUDA
    m.attr("with_cuda") = true;
#else
    m.attr("with_cuda") = false;
#endif
    ovoxel::bindConvert(m);
    ovoxel::bindDualMesh(m);
    ovoxel::bindSerialize(m);
    ovoxel::bindIo(m);
    ovoxel::bindSample(m);
    ovoxel::bindRaster(m);
    ovoxel::bindMesh(m);
    ovoxel::bindUnwrap(m);
    ovoxel::bindRemesh(m);
}
