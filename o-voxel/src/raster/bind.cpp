#include <nanobind/nanobind.h>

namespace ovoxel {

void bindRaster(nanobind::module_&) {}

}  // namespace ovoxel
