#include <nanobind/nanobind.h>

namespace ovoxel {

void bindConvert(nanobind::module_&) {}

}  // namespace ovoxel
