#include <nanobind/nanobind.h>

namespace ovoxel {

void bindMesh(nanobind::module_&) {}

}  // namespace ovoxel
