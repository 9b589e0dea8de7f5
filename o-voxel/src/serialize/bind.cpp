#include <nanobind/nanobind.h>

namespace ovoxel {

void bindSerialize(nanobind::module_&) {}

}  // namespace ovoxel
