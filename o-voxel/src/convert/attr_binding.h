// Materials and textures from Python, for both bindings of the attribute conversion.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <vector>

#include "common/array.h"
#include "convert/attr_body.h"

namespace ovoxel {

// Textures whose memory is kept alive; Level is an array of uint8 [H, W, C], Table one of float [256].
template <class Level, class Table>
struct TextureSet {
    std::vector<TextureView> views;
    std::vector<Level> levels;
    std::vector<Table> tables;

    // Entries: (levels: list of Level, filter, wrap u + 256 * wrap v, decode: Table).
    explicit TextureSet(const nanobind::list& textures) {
        for (nanobind::handle item : textures) {
            const nanobind::tuple entry = nanobind::cast<nanobind::tuple>(item);
            const nanobind::list images = nanobind::cast<nanobind::list>(entry[0]);
            TextureView view{};
            if (images.size() < 1 || images.size() > kMaxLevels)
                throw nanobind::value_error("a texture needs 1 to 32 levels");
            for (nanobind::handle image : images) {
                levels.push_back(nanobind::cast<Level>(image));
                const Level& level = levels.back();
                if (level.size() == 0 || (level.shape(2) != 1 && level.shape(2) != 3) ||
                    (view.numLevels > 0 && static_cast<int>(level.shape(2)) != view.channels))
                    throw nanobind::value_error("a texture level must be uint8 [H, W, 1 or 3] and not empty");
                view.channels = static_cast<int>(level.shape(2));
                view.pixels[view.numLevels] = level.data();
                view.height[view.numLevels] = static_cast<int64_t>(level.shape(0));
                view.width[view.numLevels] = static_cast<int64_t>(level.shape(1));
                ++view.numLevels;
            }
            view.filter = nanobind::cast<int32_t>(entry[1]);
            const int32_t wrap = nanobind::cast<int32_t>(entry[2]);
            view.wrapU = wrap & 255, view.wrapV = wrap >> 8 & 255;
            tables.push_back(nanobind::cast<Table>(entry[3]));
            view.decode = tables.back().data();
            views.push_back(view);
        }
    }
};

using Factors = HostArray<double, nanobind::shape<-1, 10>>;
using Slots = HostArray<int32_t, nanobind::shape<-1, 13>>;

// factors [M, 10]: base colour 3, alpha, metallic, roughness, emissive 3, cutoff.
// slots [M, 13]: alpha mode, the texture index of each TextureSlot or -1, the UV channel of each.
inline std::vector<Material> makeMaterials(const Factors& factors, const Slots& slots,
                                           const std::vector<TextureView>& views, size_t numChannels) {
    if (factors.shape(0) != slots.shape(0)) throw nanobind::value_error("factors and slots differ in length");
    std::vector<Material> materials(factors.shape(0));
    for (size_t i = 0; i < materials.size(); ++i) {
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
                throw nanobind::value_error("a material refers to a missing texture or one with the wrong channels");
            m.texture[slot] = t;
            m.channel[slot] = s[7 + slot];
            if (s[7 + slot] < 0 || static_cast<size_t>(s[7 + slot]) >= numChannels)
                throw nanobind::value_error("a material refers to a missing UV channel");
        }
    }
    return materials;
}

// The arrays of corner attributes must agree in length.
template <class Triangles, class Normals, class Uvs, class Colors, class Ids>
AttrInput makeAttrInput(const Triangles& triangles, const Normals& normals, const Uvs& uvs, const Colors& colors,
                        const Ids& materialIds, double mipLevelOffset) {
    const size_t count = triangles.shape(0);
    if (normals.shape(0) != count || uvs.shape(0) != count || materialIds.shape(0) != count ||
        (colors.shape(0) != count && colors.shape(0) != 0) || uvs.shape(2) < 1)
        throw nanobind::value_error("triangles, normals, uvs, colors and material ids differ in length");
    AttrInput in{};
    in.triangles = triangles.data();
    in.normals = normals.data();
    in.uvs = uvs.data();
    in.numChannels = static_cast<int32_t>(uvs.shape(2));
    in.colors = colors.shape(0) ? colors.data() : nullptr;
    in.materialIds = materialIds.data();
    in.numTriangles = static_cast<int64_t>(count);
    in.mipLevelOffset = mipLevelOffset;
    return in;
}

}  // namespace ovoxel
