#include "mesh/components.h"

#include "common/parallel.h"

namespace ovoxel::mesh {
namespace {

struct HostRun {
    template <class Body>
    void operator()(int64_t n, const Body& body) const {
        parallelFor(n, 32768, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) body(i);
        });
    }
    void clear(uint32_t* value) const { *value = 0; }
    uint32_t read(const uint32_t* value) const { return *value; }
};

}  // namespace

void components(Workspace& workspace, int64_t n, const Graph& graph, int64_t m, bool ordered, const ComponentsOut& out) {
    findComponents(workspace, HostRun{}, n, graph, m, ordered, out);
}

}  // namespace ovoxel::mesh
