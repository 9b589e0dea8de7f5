// Bindings of the mesh topic, by parts.
#include <nanobind/nanobind.h>

namespace ovoxel {

void bindMeshBvh(nanobind::module_& m);
void bindMeshSimplify(nanobind::module_& m);
void bindMeshTopology(nanobind::module_& m);

void bindMesh(nanobind::module_& m) {
    bindMeshBvh(m);
    bindMeshSimplify(m);
    bindMeshTopology(m);
}

}  // namespace ovoxel
