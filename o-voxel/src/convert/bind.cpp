#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>

#include <array>

#include "common/array.h"
#include "convert/dual_grid.h"
#include "convert/grid_binding.h"
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
    const size_t n = grid.coords.size() / 3;
    return nb::make_tuple(toNumpy(std::move(grid.coords), {n, 3}), toNumpy(std::move(grid.dualVertices), {n, 3}),
                          toNumpy(std::move(grid.intersected), {n, 3}));
}

using TextureLevel = HostArray<uint8_t, nb::shape<-1, -1, -1>>;

// uvs [T, 3, K, 2]: K UV channels.
// textures: list of (levels: list of uint8 [H, W, C], filter, wrap u + 256 * wrap v, decode: float32 [256]).
// factors [M, 10]: base colour 3, alpha, metallic, roughness, emissive 3, cutoff.
// slots [M, 13]: alpha mode, the texture index of each TextureSlot or -1, the UV channel of each.
nb::tuple texturedTrianglesToAttrPy(HostArray<float, nb::shape<-1, 3, 3>> triangles,
                                    HostArray<float, nb::shape<-1, 3, 3>> normals,
                                    HostArray<float, nb::shape<-1, 3, -1, 2>> uvs,
                                    HostArray<float, nb::shape<-1, 3, 4>> colors,
                                    HostArray<int32_t, nb::shape<-1>> materialIds,
                                    HostArray<double, nb::shape<-1, 10>> factors,
                                    HostArray<int32_t, nb::shape<-1, 13>> slots, nb::list textures,
                                    HostArray<double, nb::shape<255>> srgbSteps, std::array<float, 3> voxelSize,
                                    std::array<int64_t, 3> gridSize, double mipLevelOffset, bool published) {
    const GridSpec g = makeGrid(voxelSize, gridSize, published);
    const size_t count = triangles.shape(0), numMaterials = factors.shape(0);
    if (normals.shape(0) != count || uvs.shape(0) != count || materialIds.shape(0) != count ||
        (colors.shape(0) != count && colors.shape(0) != 0) || slots.shape(0) != numMaterials || uvs.shape(2) < 1)
        throw nb::value_error("triangles, normals, uvs, colors and material ids differ in length");
    for (size_t i = 0; i < triangles.size(); ++i)
        if (!std::isfinite(triangles.data()[i])) throw nb::value_error("triangles must be finite");
    for (size_t i = 0; i < uvs.size(); ++i)
        if (!(std::fabs(uvs.data()[i]) < 1e9f)) throw nb::value_error("uvs must be finite and below 1e9");
    for (size_t i = 0; i < count; ++i)
        if (materialIds.data()[i] < 0 || static_cast<size_t>(materialIds.data()[i]) >= numMaterials)
            throw nb::value_error("material ids must index the materials");

    std::vector<TextureView> views;
    std::vector<TextureLevel> keepLevels;
    std::vector<HostArray<float, nb::shape<256>>> keepTables;
    for (nb::handle item : textures) {
        const nb::tuple entry = nb::cast<nb::tuple>(item);
        const nb::list levels = nb::cast<nb::list>(entry[0]);
        TextureView view{};
        if (levels.size() < 1 || levels.size() > kMaxLevels) throw nb::value_error("a texture needs 1 to 32 levels");
        for (nb::handle level : levels) {
            keepLevels.push_back(nb::cast<TextureLevel>(level));
            const TextureLevel& image = keepLevels.back();
            if (image.size() == 0 || (image.shape(2) != 1 && image.shape(2) != 3) ||
                (view.numLevels > 0 && static_cast<int>(image.shape(2)) != view.channels))
                throw nb::value_error("a texture level must be uint8 [H, W, 1 or 3] and not empty");
            view.channels = static_cast<int>(image.shape(2));
            view.pixels[view.numLevels] = image.data();
            view.height[view.numLevels] = static_cast<int64_t>(image.shape(0));
            view.width[view.numLevels] = static_cast<int64_t>(image.shape(1));
            ++view.numLevels;
        }
        view.filter = nb::cast<int32_t>(entry[1]);
        const int32_t wrap = nb::cast<int32_t>(entry[2]);
        view.wrapU = wrap & 255, view.wrapV = wrap >> 8 & 255;
        keepTables.push_back(nb::cast<HostArray<float, nb::shape<256>>>(entry[3]));
        view.decode = keepTables.back().data();
        views.push_back(view);
    }
    std::vector<Material> materials(numMaterials);
    for (size_t i = 0; i < numMaterials; ++i) {
        const double* f = factors.data() + 10 * i;
        const int32_t* s = slots.data() + 13 * i;
        Material& m = materials[i];
        for (int c = 0; c < 3; ++c) m.baseColor[c] = f[c], m.emissive[c] = f[6 + c];
        m.alpha = f[3], m.metallic = f[4], m.roughness = f[5], m.cutoff = f[9];
        m.alphaMode = s[0];
        for (int slot = 0; slot < kNumSlots; ++slot) {
            const bool color = slot == kBaseColor || slot == kEmissive || slot == kNormal;
            const int32_t t = s[1 + slot];
            if (t >= static_cast<int32_t>(views.size()) || (t >= 0 && views[t].channels != (color ? 3 : 1)))
                throw nb::value_error("a material refers to a missing texture or one with the wrong channels");
            m.texture[slot] = t;
            m.channel[slot] = s[7 + slot];
            if (s[7 + slot] < 0 || static_cast<size_t>(s[7 + slot]) >= uvs.shape(2))
                throw nb::value_error("a material refers to a missing UV channel");
        }
    }
    VolumetricAttr attr;
    {
        nb::gil_scoped_release release;
        AttrInput in{triangles.data(),
                     normals.data(),
                     uvs.data(),
                     static_cast<int32_t>(uvs.shape(2)),
                     colors.shape(0) ? colors.data() : nullptr,
                     materialIds.data(),
                     static_cast<int64_t>(count),
                     materials.data(),
                     views.data(),
                     mipLevelOffset};
        attr = texturedTrianglesToAttr(g, in, {srgbSteps.data(), published});
    }
    const size_t n = attr.coords.size() / 3;
    nb::list values;
    for (int i = 0; i < 6; ++i)
        values.append(toNumpy(std::move(attr.values[i]), {n, static_cast<size_t>(kAttrWidth[i])}));
    return nb::make_tuple(toNumpy(std::move(attr.coords), {n, 3}), values);
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
          nb::arg("textures"), nb::arg("srgb_steps"), nb::arg("voxel_size"), nb::arg("grid_size"),
          nb::arg("mip_level_offset"), nb::arg("published"),
          "Textured triangles -> (coords int32 [N, 3], uint8 arrays: base colour [N, 3], metallic [N, 1], roughness, "
          "emissive [N, 3], alpha, normal [N, 3]).");
#ifdef OVOXEL_WITH_CUDA
    bindConvertCuda(m);
#endif
}

}  // namespace ovoxel
