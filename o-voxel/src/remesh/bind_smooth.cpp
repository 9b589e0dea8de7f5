// Bindings of the smoothing; results are written into arrays of the caller.
#include <string>

#include "remesh/spaces.h"

namespace nb = nanobind;

namespace ovoxel {
namespace {

using namespace remesh;

template <class Space>
struct SmoothBindings {
    using Vertices = RowsOf<Space, double, 3>;
    using Faces = RowsOf<Space, int32_t, 3>;
    using Normals = RowsOf<Space, double, 4>;
    using Index = ColumnOf<Space, int32_t>;

    static Surface surfaceOf(const Vertices& vertices, const Faces& faces, const Index& starts, const Index& ring) {
        need(starts.shape(0) == vertices.shape(0) + 1 && ring.shape(0) == 3 * faces.shape(0),
             "starts and ring do not fit the mesh");
        return {vertices.data(), faces.data(), starts.data(), ring.data()};
    }
    static void faceNormals(Vertices vertices, Faces faces, Index starts, Index ring, Normals out, Launch launch) {
        const Surface surface = surfaceOf(vertices, faces, starts, ring);
        need(out.shape(0) == faces.shape(0), "out must have a row a face");
        Space space(launch);
        eachIn(space, static_cast<int64_t>(faces.shape(0)), FaceNormalsBody{surface, out.data()}, "face normals");
    }
    static void filterNormals(Vertices vertices, Faces faces, Index starts, Index ring, Normals normals, double limit2,
                              Normals out, Launch launch) {
        const Surface surface = surfaceOf(vertices, faces, starts, ring);
        need(out.shape(0) == faces.shape(0) && normals.shape(0) == faces.shape(0), "normals must have a row a face");
        Space space(launch);
        eachIn(space, static_cast<int64_t>(faces.shape(0)),
               FilterNormalsBody{surface, normals.data(), limit2, out.data()}, "filter normals");
    }
    static void moveVertices(Vertices vertices, Faces faces, Index starts, Index ring, Normals normals,
                             Vertices original, ColumnOf<Space, uint8_t> fixed, double limit, Vertices out,
                             Launch launch) {
        const Surface surface = surfaceOf(vertices, faces, starts, ring);
        need(normals.shape(0) == faces.shape(0) && original.shape(0) == vertices.shape(0) &&
                 fixed.shape(0) == vertices.shape(0) && out.shape(0) == vertices.shape(0),
             "arrays do not fit the mesh");
        Space space(launch);
        eachIn(space, static_cast<int64_t>(vertices.shape(0)),
               MoveVerticesBody{surface, normals.data(), original.data(), fixed.data(), limit, out.data()},
               "move vertices");
    }
    static void bind(nb::module_& m, const std::string& suffix) {
        m.def(("smooth_face_normals" + suffix).c_str(), &faceNormals,
              "(vertices, faces, starts, ring, out, launch): unit normal and area of every face.");
        m.def(("smooth_filter_normals" + suffix).c_str(), &filterNormals,
              "(vertices, faces, starts, ring, normals, limit2, out, launch): normals averaged over similar ones.");
        m.def(("smooth_move_vertices" + suffix).c_str(), &moveVertices,
              "(vertices, faces, starts, ring, normals, original, fixed, limit, out, launch): vertices moved to them.");
    }
};

}  // namespace

void bindSmooth(nb::module_& m) {
    SmoothBindings<HostSpace>::bind(m, "");
#ifdef OVOXEL_WITH_CUDA
    SmoothBindings<CudaSpace>::bind(m, "_cuda");
#endif
}

}  // namespace ovoxel
