#include "mesh/components.h"

#include "common/launch.h"

namespace ovoxel::mesh {

void connectedComponentsOnDevice(Workspace& workspace, int64_t n, const int64_t* pairs, int64_t m, int64_t* labels) {
    const Forest forest{workspace.allocate<uint32_t>(n)};
    launchFor(workspace, n, ForestInitBody{forest}, "components: start");
    launchFor(workspace, m, ForestJoinBody{forest, pairs}, "components: join");
    launchFor(workspace, n, ForestLabelBody{forest, labels}, "components: labels");
    workspace.release(forest.parent);
}

}  // namespace ovoxel::mesh
