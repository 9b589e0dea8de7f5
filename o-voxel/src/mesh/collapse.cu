#include "common/launch.h"
#include "common/primitives.h"
#include "mesh/collapse.h"
#include "mesh/collapse_run.h"

namespace ovoxel::mesh {
namespace {

struct CornerKeyBody {
    const int32_t* faces;
    int64_t numVertices;
    uint64_t* key;   // [3 * numFaces] vertex, or numVertices in a degenerate face
    uint32_t* face;  // [3 * numFaces] corner

    OVOXEL_HD void operator()(int64_t i) const {
        const int32_t* t = faces + i / 3 * 3;
        const bool degenerate = t[0] == t[1] || t[1] == t[2] || t[2] == t[0];
        key[i] = static_cast<uint64_t>(degenerate ? numVertices : t[i % 3]);
        face[i] = static_cast<uint32_t>(i);
    }
};

// Sorted corners to rows. A thread at the first corner of a vertex also writes the offsets of the empty rows before it.
struct RowBody {
    const int32_t* faces;
    const uint64_t* key;
    const uint32_t* corner;
    int64_t count, numVertices;
    int64_t* offsets;  // [numVertices + 1]
    Link* links;

    OVOXEL_HD void operator()(int64_t i) const {
        const int64_t own = i < count ? static_cast<int64_t>(key[i]) : numVertices;
        const int64_t before = i > 0 ? static_cast<int64_t>(key[i - 1]) : -1;
        for (int64_t v = before + 1; v <= own; ++v) offsets[v] = i;
        if (own == numVertices) return;
        const int64_t c = corner[i], f = c / 3;
        const int k = static_cast<int>(c - 3 * f);
        links[i] = {faces[3 * f + (k + 1) % 3], faces[3 * f + (k + 2) % 3]};
    }
};

struct DeviceExecutor {
    Workspace& workspace;

    template <class Body>
    void forEach(int64_t n, const Body& body, const char* name) {
        launchFor(workspace, n, body, name);
    }
    template <class In>
    void sum(const In* in, int64_t* out, int64_t n) {
        exclusiveSum(workspace, in, out, n);
    }
    int64_t select(const uint8_t* flags, int64_t* out, int64_t n) { return selectFlagged(workspace, flags, out, n); }

    template <class T>
    void fill(T* values, int byte, int64_t count) {
        if (count > 0) checkCuda(cudaMemsetAsync(values, byte, sizeof(T) * count, workspace.stream()), "memset");
    }
    template <class T>
    void read(const T* values, T* host, int64_t count) {
        if (count > 0) readBack(workspace, values, host, count);
    }
    template <class T>
    void write(T* values, const T* host, int64_t count) {
        checkCuda(cudaMemcpyAsync(values, host, sizeof(T) * count, cudaMemcpyHostToDevice, workspace.stream()), "copy");
    }
    template <class T>
    void copy(T* to, const T* from, int64_t count) {
        checkCuda(cudaMemcpyAsync(to, from, sizeof(T) * count, cudaMemcpyDeviceToDevice, workspace.stream()), "copy");
    }

    int64_t rows(const CollapseInput& input, CollapseMesh& mesh) {
        const int64_t corners = 3 * input.numFaces;
        uint64_t* key = workspace.allocate<uint64_t>(corners);
        uint32_t* corner = workspace.allocate<uint32_t>(corners);
        launchFor(workspace, corners, CornerKeyBody{input.faces, input.numVertices, key, corner}, "corners");
        int bits = 1;
        while (input.numVertices >> bits) ++bits;
        const SortedKeys sorted = sortPairs(workspace, key, corner, corners, bits);
        workspace.release(key);
        workspace.release(corner);
        mesh.links = workspace.allocate<Link>(corners);
        launchFor(workspace, corners + 1,
                  RowBody{input.faces, sorted.keys, sorted.values, corners, input.numVertices, mesh.offsets, mesh.links},
                  "rows of the vertices");
        workspace.release(sorted.keys);
        workspace.release(sorted.values);
        return readBack(workspace, mesh.offsets + input.numVertices) / 3;
    }
};

}  // namespace

CollapseResult collapseEdgesOnDevice(Workspace& workspace, const CollapseInput& input, const CollapseOptions& options) {
    DeviceExecutor executor{workspace};
    return CollapseRun<DeviceExecutor>(executor, input, options).run();
}

}  // namespace ovoxel::mesh
