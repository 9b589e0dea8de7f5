#include "mesh/collapse.h"

#include <cstring>

#include "common/parallel.h"
#include "mesh/collapse_run.h"

namespace ovoxel::mesh {
namespace {

// Compiled once for all threads: copies inlined in two places have been seen to round differently.
template <class Body>
[[gnu::noinline]] void range(const Body& body, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i);
}

struct HostExecutor {
    Workspace& workspace;

    template <class Body>
    void forEach(int64_t n, const Body& body, const char*) {
        parallelFor(n, 4096, [&](int64_t begin, int64_t end) { range(body, begin, end); });
    }

    template <class In>
    void sum(const In* in, int64_t* out, int64_t n) {
        int64_t sum = 0;
        for (int64_t i = 0; i < n; ++i) {
            out[i] = sum;
            sum += in[i];
        }
        out[n] = sum;
    }

    int64_t select(const uint8_t* flags, int64_t* out, int64_t n) {
        int64_t count = 0;
        for (int64_t i = 0; i < n; ++i) {
            out[count] = i;
            count += flags[i] != 0;
        }
        return count;
    }

    template <class T>
    void fill(T* values, int byte, int64_t count) {
        parallelFor(count, 1 << 18, [&](int64_t begin, int64_t end) {
            std::memset(values + begin, byte, sizeof(T) * (end - begin));
        });
    }

    template <class T>
    void read(const T* values, T* host, int64_t count) {
        std::memcpy(host, values, sizeof(T) * count);
    }
    template <class T>
    void write(T* values, const T* host, int64_t count) {
        std::memcpy(values, host, sizeof(T) * count);
    }
    template <class T>
    void copy(T* to, const T* from, int64_t count) {
        std::memcpy(to, from, sizeof(T) * count);
    }

    // Faces around each vertex in ascending order. Returns how many faces are not degenerate.
    int64_t rows(const CollapseInput& input, CollapseMesh& mesh) {
        int64_t* offsets = mesh.offsets;
        std::fill(offsets, offsets + input.numVertices + 1, int64_t{0});
        int64_t count = 0;
        auto degenerate = [](const int32_t* t) { return t[0] == t[1] || t[1] == t[2] || t[2] == t[0]; };
        for (int64_t f = 0; f < input.numFaces; ++f) {
            const int32_t* t = input.faces + 3 * f;
            if (degenerate(t)) continue;
            for (int k = 0; k < 3; ++k) ++offsets[t[k]];
            ++count;
        }
        int64_t sum = 0;
        for (int64_t v = 0; v <= input.numVertices; ++v) {
            const int64_t own = offsets[v];
            offsets[v] = sum;
            sum += own;
        }
        mesh.links = workspace.allocate<Link>(3 * count);
        for (int64_t f = 0; f < input.numFaces; ++f) {
            const int32_t* t = input.faces + 3 * f;
            if (degenerate(t)) continue;
            for (int k = 0; k < 3; ++k) mesh.links[offsets[t[k]]++] = {t[(k + 1) % 3], t[(k + 2) % 3]};
        }
        for (int64_t v = input.numVertices; v > 0; --v) offsets[v] = offsets[v - 1];
        offsets[0] = 0;
        return count;
    }
};

}  // namespace

CollapseResult collapseEdges(Workspace& workspace, const CollapseInput& input, const CollapseOptions& options) {
    HostExecutor executor{workspace};
    return CollapseRun<HostExecutor>(executor, input, options).run();
}

}  // namespace ovoxel::mesh
