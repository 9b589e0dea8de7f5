#include "mesh/simplify.h"

#include "mesh/edge_heap.h"

namespace ovoxel::mesh {

SimplifyResult simplifyMesh(const SimplifyInput& input, const SimplifyOptions& options) {
    EdgeHeap heap(input, options);
    return heap.result(heap.run());
}

}  // namespace ovoxel::mesh
