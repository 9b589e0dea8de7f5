#include "convert/boundary_device.h"

#include "common/launch.h"
#include "common/primitives.h"
#include "convert/surface_device.h"

namespace ovoxel {
namespace {

__device__ uint64_t bitsOf(float value) { return __float_as_uint(value + 0.0f); }  // -0 equals +0

// Smallest vertex index with exactly the same position, for each vertex.
int32_t* weldByPosition(Workspace& workspace, const MeshView& mesh) {
    const int64_t n = mesh.numVertices;
    const float* p = mesh.vertices;
    int32_t* weld = workspace.allocate<int32_t>(n);
    if (n == 0) return weld;
    uint64_t* keys = workspace.allocate<uint64_t>(n);
    uint32_t* index = workspace.allocate<uint32_t>(n);
    launchFor(
        workspace, n,
        [=] __device__(int64_t v) {
            keys[v] = bitsOf(p[3 * v + 2]);
            index[v] = static_cast<uint32_t>(v);
        },
        "vertex keys");
    const SortedKeys byZ = sortPairs(workspace, keys, index, n, 32);
    launchFor(
        workspace, n,
        [=] __device__(int64_t i) {
            const float* q = p + 3 * int64_t{byZ.values[i]};
            keys[i] = bitsOf(q[0]) << 32 | bitsOf(q[1]);
        },
        "vertex keys");
    const SortedKeys sorted = sortPairs(workspace, keys, byZ.values, n, 64);
    uint8_t* heads = workspace.allocate<uint8_t>(n);
    int64_t* run = workspace.allocate<int64_t>(n + 1);
    int64_t* places = workspace.allocate<int64_t>(n);
    launchFor(
        workspace, n,
        [=] __device__(int64_t i) {
            const int64_t v = sorted.values[i], w = i == 0 ? 0 : sorted.values[i - 1];
            heads[i] = i == 0 || sorted.keys[i] != sorted.keys[i - 1] || bitsOf(p[3 * v + 2]) != bitsOf(p[3 * w + 2]);
        },
        "equal vertices");
    exclusiveSum(workspace, heads, run, n);
    selectFlagged(workspace, heads, places, n);
    launchFor(
        workspace, n,
        [=] __device__(int64_t i) {
            weld[sorted.values[i]] = static_cast<int32_t>(sorted.values[places[run[i + 1] - 1]]);
        },
        "weld");
    for (void* memory : {static_cast<void*>(keys), static_cast<void*>(index), static_cast<void*>(byZ.keys),
                         static_cast<void*>(byZ.values), static_cast<void*>(sorted.keys),
                         static_cast<void*>(sorted.values), static_cast<void*>(heads), static_cast<void*>(run),
                         static_cast<void*>(places)})
        workspace.release(memory);
    return weld;
}

}  // namespace

DeviceEdges boundaryEdgesOnDevice(Workspace& workspace, const MeshView& mesh, bool weld) {
    const int64_t n = 3 * mesh.numFaces;
    const uint64_t none = static_cast<uint64_t>(mesh.numVertices) << 32;  // after all edges
    const int32_t* faces = mesh.faces;
    int32_t* ids = weld ? weldByPosition(workspace, mesh) : nullptr;
    // Half-edges sorted by (edge, third corner), so that equal faces stand side by side.
    uint64_t* thirds = workspace.allocate<uint64_t>(n);
    uint64_t* keys = workspace.allocate<uint64_t>(n);
    uint64_t* ordered = workspace.allocate<uint64_t>(n);
    uint32_t* index = workspace.allocate<uint32_t>(n);
    launchFor(
        workspace, n,
        [=] __device__(int64_t h) {
            const int64_t f = h / 3, i = h % 3;
            int64_t c[3];
            for (int k = 0; k < 3; ++k) c[k] = ids ? ids[faces[3 * f + k]] : faces[3 * f + k];
            const int64_t p = c[i], q = c[(i + 1) % 3];
            const bool collapsed = ids && (c[0] == c[1] || c[1] == c[2] || c[2] == c[0]);
            keys[h] = collapsed ? none : static_cast<uint64_t>(p < q ? p << 32 | q : q << 32 | p);
            thirds[h] = static_cast<uint64_t>(c[(i + 2) % 3]);
            index[h] = static_cast<uint32_t>(h);
        },
        "half-edges");
    const SortedKeys byThird = sortPairs(workspace, thirds, index, n, bitsUpTo(mesh.numVertices));
    launchFor(workspace, n, [=] __device__(int64_t i) { ordered[i] = keys[byThird.values[i]]; }, "half-edges");
    const SortedKeys sorted = sortPairs(workspace, ordered, byThird.values, n, bitsUpTo(none));
    uint8_t* flags = workspace.allocate<uint8_t>(n);
    int64_t* places = workspace.allocate<int64_t>(n);
    launchFor(
        workspace, n,
        [=] __device__(int64_t i) {
            const uint64_t key = sorted.keys[i];
            bool once = key < none && (i == 0 || sorted.keys[i - 1] != key);
            const uint64_t third = thirds[sorted.values[i]];
            for (int64_t j = i + 1; once && j < n && sorted.keys[j] == key; ++j)
                once = ids && thirds[sorted.values[j]] == third;  // welded, equal faces count once
            flags[i] = once;
        },
        "boundary edges");
    DeviceEdges edges;
    edges.count = selectFlagged(workspace, flags, places, n);
    int32_t* vertices = edges.vertices = workspace.allocate<int32_t>(2 * edges.count);
    launchFor(
        workspace, edges.count,
        [=] __device__(int64_t e) {
            const uint64_t key = sorted.keys[places[e]];
            vertices[2 * e] = static_cast<int32_t>(key >> 32);
            vertices[2 * e + 1] = static_cast<int32_t>(key & 0xffffffffu);
        },
        "boundary edges");
    for (void* memory : {static_cast<void*>(thirds), static_cast<void*>(keys), static_cast<void*>(ordered),
                         static_cast<void*>(index), static_cast<void*>(byThird.keys),
                         static_cast<void*>(byThird.values), static_cast<void*>(sorted.keys),
                         static_cast<void*>(sorted.values), static_cast<void*>(flags), static_cast<void*>(places)})
        workspace.release(memory);
    if (ids) workspace.release(ids);
    return edges;
}

}  // namespace ovoxel
