#include <nanobind/nanobind.h>

namespace ovoxel {

void bindSample(nanobind::module_&) {}

}  // namespace ovoxel
