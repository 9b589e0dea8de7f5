#include "mesh/components.h"

#include "common/launch.h"

namespace ovoxel::mesh {
namespace {

struct DeviceRun {
    const Workspace& workspace;
    template <class Body>
    void operator()(int64_t n, const Body& body) const {
        launchFor(workspace, n, body, "components");
    }
    void clear(uint32_t* value) const { fillZero(workspace, value, 1); }
    uint32_t read(const uint32_t* value) const { return readBack(workspace, value); }
};

}  // namespace

void componentsOnDevice(Workspace& workspace, int64_t n, const Graph& graph, int64_t m, bool ordered,
                        const ComponentsOut& out) {
    findComponents(workspace, DeviceRun{workspace}, n, graph, m, ordered, out);
}

}  // namespace ovoxel::mesh
