#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>

#include <array>
#include <optional>

#include "common/array.h"
#include "common/parallel.h"
#include "convert/attr_binding.h"
#include "convert/dual_grid.h"
#include "convert/grid_binding.h"
#include "convert/mip_body.h"
#include "convert/volumetric_attr.h"

namespace nb = nanobind;

namespace ovoxel {
namespace {

void checkMesh(const HostArray<float, nb::shape<-1, 3>>& vertices, const HostArray<int32_t, nb::shape<-1, 3>>& faces) {
    const int64_t v = static_cast<int64_t>(vertices.shape(0));
    for (size_t i = 0; i < vertices.size(); ++i)
        if (!std::isfinite(vertices.data()[i])) throw nb::value_error("vertices must be finite");
    for (size_t i = 0; i < faces.size(); ++i)
        if (faces.data()[i] < 0 || faces.data()[i] >= v) throw nb::value_error("faces must index vertices");
}

nb::tuple meshToDualGridPy(HostArray<float, nb::shape<-1, 3>> vertices, HostArray<int32_t, nb::shape<-1, 3>> faces,
                           std::array<float, 3> voxelSize, std::array<int64_t, 3> gridSize, double faceWeight,
                           double boundaryWeight, double regularizationWeight, bool oddCrossings, bool published) {
    const GridSpec g = makeGrid(voxelSize, gridSize, published);
    checkMesh(vertices, faces);
    DualGrid grid;
    {
        nb::gil_scoped_release release;
        const MeshView mesh{vertices.data(), faces.data(), static_cast<int64_t>(vertices.shape(0)),
                            static_cast<int64_t>(faces.shape(0))};
        grid = meshToDualGrid(g, mesh, {faceWeight, boundaryWeight, regularizationWeight, oddCrossings});
    }
    const size_t n = static_cast<size_t>(grid.count);
    return nb::make_tuple(toNumpy(std::move(grid.coords), {n, 3}), toNumpy(std::move(grid.dualVertices), {n, 3}),
                          toNumpy(std::move(grid.intersected), {n, 3}));
}

// uvs [T, 3, K, 2]: K UV channels; textures, factors and slots: see attr_binding.h.
nb::tuple texturedTrianglesToAttrPy(HostArray<float, nb::shape<-1, 3, 3>> triangles,
                                    HostArray<float, nb::shape<-1, 3, 3>> normals,
                                    HostArray<float, nb::shape<-1, 3, -1, 2>> uvs,
                                    HostArray<float, nb::shape<-1, 3, 4>> colors,
                                    HostArray<int32_t, nb::shape<-1>> materialIds, Factors factors, Slots slots,
                                    nb::list textures, HostArray<double, nb::shape<255>> srgbSteps,
                                    HostArray<uint8_t, nb::shape<4096>> srgbGuess,
                                    std::array<float, 3> voxelSize, std::array<int64_t, 3> gridSize,
                                    double mipLevelOffset, bool published) {
    const GridSpec g = makeGrid(voxelSize, gridSize, published);
    AttrInput in = makeAttrInput(triangles, normals, uvs, colors, materialIds, mipLevelOffset);
    for (size_t i = 0; i < triangles.size(); ++i)
        if (!std::isfinite(triangles.data()[i])) throw nb::value_error("triangles must be finite");
    for (size_t i = 0; i < uvs.size(); ++i)
        if (!(std::fabs(uvs.data()[i]) < 1e9f)) throw nb::value_error("uvs must be finite and below 1e9");
    for (size_t i = 0; i < materialIds.size(); ++i)
        if (materialIds.data()[i] < 0 || static_cast<size_t>(materialIds.data()[i]) >= factors.shape(0))
            throw nb::value_error("material ids must index the materials");
    const TextureSet<HostArray<uint8_t, nb::shape<-1, -1, -1>>, HostArray<float, nb::shape<256>>> set(textures);
    const std::vector<Material> materials = makeMaterials(factors, slots, set.views, uvs.shape(2));
    in.materials = materials.data();
    in.textures = set.views.data();
    VolumetricAttr attr;
    {
        nb::gil_scoped_release release;
        attr = texturedTrianglesToAttr(g, in, {srgbSteps.data(), srgbGuess.data(), published});
    }
    const size_t n = static_cast<size_t>(attr.count);
    nb::list values;
    for (int i = 0; i < 6; ++i)
        values.append(toNumpy(std::move(attr.values[i]), {n, static_cast<size_t>(kAttrWidth[i])}));
    return nb::make_tuple(toNumpy(std::move(attr.coords), {n, 3}), values);
}

nb::list mipLevelsPy(HostArray<uint8_t, nb::shape<-1, -1, -1>> image, HostArray<float, nb::shape<256>> decode,
                     std::optional<HostArray<uint8_t, nb::shape<65536>>> encode) {
    const size_t channels = image.shape(2);
    if (image.size() == 0) throw nb::value_error("image must not be empty");
    const MipShapes shapes(static_cast<int64_t>(image.shape(0)), static_cast<int64_t>(image.shape(1)));
    std::vector<std::vector<uint8_t>> levels;
    std::vector<uint8_t*> pointers;
    for (const auto& shape : shapes.levels) {
        levels.emplace_back(shape[0] * shape[1] * channels);
        pointers.push_back(levels.back().data());
    }
    {
        nb::gil_scoped_release release;
        std::vector<float> values[2];
        for (auto& v : values) v.resize(levels.empty() ? 0 : levels[0].size());
        float* const buffers[2] = {values[0].data(), values[1].data()};
        makeMipLevels(image.data(), static_cast<int64_t>(image.shape(0)), static_cast<int64_t>(image.shape(1)),
                      static_cast<int>(channels), {decode.data(), encode ? encode->data() : nullptr}, pointers.data(),
                      buffers, [](const MipBody& body, int64_t n) {
                          parallelFor(n, 16384, [&](int64_t begin, int64_t end) {
                              for (int64_t i = begin; i < end; ++i) body(i);
                          });
                      });
    }
    nb::list out;
    for (size_t i = 0; i < levels.size(); ++i)
        out.append(toNumpy(std::move(levels[i]), {shapes.levels[i][0], shapes.levels[i][1], channels}));
    return out;
}

}  // namespace

#ifdef OVOXEL_WITH_CUDA
void bindConvertCuda(nb::module_& m);
#endif

void bindConvert(nb::module_& m) {
    m.def("mesh_to_dual_grid", &meshToDualGridPy, nb::arg("vertices"), nb::arg("faces"), nb::arg("voxel_size"),
          nb::arg("grid_size"), nb::arg("face_weight"), nb::arg("boundary_weight"), nb::arg("regularization_weight"),
          nb::arg("odd_crossings"), nb::arg("published"), "Box-relative mesh -> (coords int32, dual vertices float32, flags uint8), each [N, 3].");
    m.def("textured_triangles_to_attr", &texturedTrianglesToAttrPy, nb::arg("triangles"), nb::arg("normals"),
          nb::arg("uvs"), nb::arg("colors"), nb::arg("material_ids"), nb::arg("factors"), nb::arg("slots"),
          nb::arg("textures"), nb::arg("srgb_steps"), nb::arg("srgb_guess"), nb::arg("voxel_size"), nb::arg("grid_size"),
          nb::arg("mip_level_offset"), nb::arg("published"),
          "Textured triangles -> (coords int32 [N, 3], uint8 arrays: base colour [N, 3], metallic [N, 1], roughness, "
          "emissive [N, 3], alpha, normal [N, 3]).");
    m.def("mip_levels", &mipLevelsPy, nb::arg("image"), nb::arg("decode"), nb::arg("encode").none(),
          "Halvings of an image uint8 [H, W, C] down to one texel, a list of arrays; encode: sRGB table or None.");
#ifdef OVOXEL_WITH_CUDA
    bindConvertCuda(m);
#endif
}

}  // namespace ovoxel
