// Material of one triangle inside one voxel, and the mean over the triangles of a voxel.
#pragma once

#include "convert/clip_body.h"
#include "convert/texture_body.h"

namespace ovoxel {

enum AlphaMode : int32_t { kOpaque = 0, kMask = 1, kBlend = 2 };
enum TextureSlot { kBaseColor, kAlpha, kMetallic, kRoughness, kEmissive, kNormal, kNumSlots };
constexpr int kAttrChannels = 12;  // base colour 3, metallic, roughness, emissive 3, alpha, normal 3

struct Material {
    double baseColor[3], alpha, metallic, roughness, emissive[3], cutoff;
    int32_t alphaMode;
    int32_t texture[kNumSlots];  // index, or -1
    int32_t channel[kNumSlots];  // UV channel of the texture
};

struct AttrInput {
    const float* triangles;  // [T, 3, 3] box-relative
    const float* normals;    // [T, 3, 3]
    const float* uvs;        // [T, 3, numChannels, 2], v up
    int32_t numChannels;
    const float* colors;         // [T, 3, 4] linear RGBA, or null
    const int32_t* materialIds;  // [T]
    int64_t numTriangles;
    const Material* materials;
    const TextureView* textures;
    double mipLevelOffset;

    OVOXEL_HD MeshView mesh() const { return {triangles, nullptr, 3 * numTriangles, numTriangles}; }
};

// How linear values become bytes.
struct ByteEncoder {
    const double* steps;   // [255] ascending: the linear values at which the sRGB byte steps up
    const uint8_t* guess;  // [4096] the byte of i / 4096
    bool published;        // stored colours are not encoded, and values are cut off instead of rounded

    // The number of steps at or below the value.
    OVOXEL_HD uint8_t color(float value) const {
        if (!(value > 0)) return 0;
        int byte = value < 1 ? guess[static_cast<int>(value * 4096.0f)] : 255;
        while (byte < 255 && steps[byte] <= static_cast<double>(value)) ++byte;
        return static_cast<uint8_t>(byte);
    }
    OVOXEL_HD uint8_t plain(float value) const {
        float scaled = value * 255.0f;
        scaled = scaled > 0 ? scaled < 255 ? scaled : 255.0f : 0.0f;
        return static_cast<uint8_t>(published ? scaled : std::rint(scaled));
    }
    OVOXEL_HD uint8_t operator()(int channel, float value) const {
        if (channel >= 9) return plain(0.5f * value + 0.5f);
        const bool isColor = channel < 3 || (channel >= 5 && channel < 8);
        return isColor && !published ? color(value) : plain(value);
    }
};

// How one UV channel lies on a triangle.
struct UvFrame {
    double footprint;  // size of the voxel in UV units
    Vec3 tangent, bitangent;
    bool degenerate;
};

// `uv`: [3, numChannels, 2] moved to the channel. `voxel`: size in mesh units.
OVOXEL_HD_CALL inline UvFrame uvFrame(const TriangleFrame& t, const float* uv, int32_t numChannels, double voxel,
                                 bool published) {
    const int64_t corner = 2 * static_cast<int64_t>(numChannels);
    const double du1 = uv[corner] - uv[0], dv1 = uv[corner + 1] - uv[1];
    const double du2 = uv[2 * corner] - uv[0], dv2 = uv[2 * corner + 1] - uv[1];
    const double det = du1 * dv2 - dv1 * du2;
    const double scale = (du1 * du1 + dv1 * dv1) + (du2 * du2 + dv2 * dv2);
    UvFrame f;
    f.degenerate = published ? std::fabs(det) < 1e-6 : !(std::fabs(det) > 1e-7 * scale);
    f.tangent = {{1, 0, 0}}, f.bitangent = {{0, 1, 0}};
    f.footprint = voxel / 1e6;
    if (f.degenerate) return f;
    const Vec3 u = t.e1 * dv2 - t.e2 * dv1, v = t.e2 * du1 - t.e1 * du2;
    const double lengthU = std::sqrt(dot(u, u)), lengthV = std::sqrt(dot(v, v));
    f.footprint = voxel * std::fabs(det) / std::sqrt(lengthU * lengthV);
    // The published frame ignores the handedness of the UV chart; mirrored charts need the sign.
    const double side = !published && det < 0 ? -1.0 : 1.0;
    f.tangent = lengthU > 0 ? u * (side / lengthU) : f.tangent;
    f.bitangent = lengthV > 0 ? v * (side / lengthV) : f.bitangent;
    return f;
}

// Mip level of each texture of a triangle; 0 for empty slots.
struct SlotLevels {
    double level[kNumSlots];
};

OVOXEL_HD inline SlotLevels slotLevels(const AttrInput& in, int64_t f, double voxel, bool published) {
    const Material& m = in.materials[in.materialIds[f]];
    const TriangleFrame t = triangleFrame(in.mesh().triangle(f));
    SlotLevels out;
    int32_t channel = -1;  // of `footprint`
    double footprint = 0;
    for (int slot = 0; slot < kNumSlots; ++slot) {
        out.level[slot] = 0;
        if (m.texture[slot] < 0) continue;
        if (m.channel[slot] != channel) {
            channel = m.channel[slot];
            const float* uv = in.uvs + 6 * f * in.numChannels + 2 * channel;
            footprint = uvFrame(t, uv, in.numChannels, voxel, published).footprint;
        }
        out.level[slot] = mipLevel(in.textures[m.texture[slot]], footprint, in.mipLevelOffset);
    }
    return out;
}

// Evaluates the material of triangle f at barycentrics b: base colour 3, metallic, roughness, emissive 3, alpha,
// normal 3.
OVOXEL_HD inline void shade(const AttrInput& in, int64_t f, const TriangleFrame& t, const SlotLevels& levels,
                            const double b[3], double voxel, bool published, double out[kAttrChannels]) {
    const Material& m = in.materials[in.materialIds[f]];
    const int64_t corner = 2 * static_cast<int64_t>(in.numChannels);
    const float *normals = in.normals + 9 * f, *uvs = in.uvs + 3 * corner * f;
    Vec3 normal = {{0, 0, 0}};
    double color[4] = {1, 1, 1, 1};
    for (int i = 0; i < 3; ++i)
        for (int a = 0; a < 3; ++a) normal[a] += b[i] * normals[3 * i + a];
    if (in.colors) {
        const float* c = in.colors + 12 * f;
        for (int i = 0; i < 4; ++i) color[i] = b[0] * c[i] + b[1] * c[4 + i] + b[2] * c[8 + i];
    }
    auto look = [&](TextureSlot slot) {
        const float* uv = uvs + 2 * m.channel[slot];
        const double u = b[0] * uv[0] + b[1] * uv[corner] + b[2] * uv[2 * corner];
        const double v = 1 - (b[0] * uv[1] + b[1] * uv[corner + 1] + b[2] * uv[2 * corner + 1]);
        return sampleTexture(in.textures[m.texture[slot]], u, v, levels.level[slot]);
    };
    for (int c = 0; c < 3; ++c) out[c] = m.baseColor[c] * color[c];
    if (m.texture[kBaseColor] >= 0) {
        const TexelSum texel = look(kBaseColor);
        out[0] *= texel.r, out[1] *= texel.g, out[2] *= texel.b;
    }
    out[3] = m.metallic;
    if (m.texture[kMetallic] >= 0) out[3] *= look(kMetallic).r;
    out[4] = m.roughness;
    if (m.texture[kRoughness] >= 0) out[4] *= look(kRoughness).r;
    for (int c = 0; c < 3; ++c) out[5 + c] = m.emissive[c];
    if (m.texture[kEmissive] >= 0) {
        const TexelSum texel = look(kEmissive);
        out[5] *= texel.r, out[6] *= texel.g, out[7] *= texel.b;
    }
    out[8] = 1;
    if (m.alphaMode != kOpaque) {
        out[8] = m.alpha * color[3];
        if (m.texture[kAlpha] >= 0) out[8] *= look(kAlpha).r;
        if (m.alphaMode == kMask) out[8] = out[8] < m.cutoff ? 0 : 1;
    }
    if (!published) {
        normal = normalized(normal);
        if (dot(normal, normal) == 0) normal = t.normal;
    }
    if (m.texture[kNormal] >= 0) {
        const TexelSum texel = look(kNormal);
        const double x = 2 * texel.r - 1, y = 2 * texel.g - 1, z = 2 * texel.b - 1;
        const UvFrame frame = uvFrame(t, uvs + 2 * m.channel[kNormal], in.numChannels, voxel, published);
        if (published || !frame.degenerate) normal = normalized(frame.tangent * x + frame.bitangent * y + normal * z);
    }
    for (int a = 0; a < 3; ++a) out[9 + a] = normal[a];
}

// Sums over the triangles of one voxel, in ascending order of the triangles.
struct AttrVoxel {
    double sums[kAttrChannels] = {};
    double weight = 0, colorWeight = 0;

    OVOXEL_HD void add(const GridSpec& g, const AttrInput& in, int64_t f, const TriangleFrame& t,
                       const SlotLevels& levels, TriangleCutter& cutter, const int32_t cell[3]) {
        Vec3 point;  // the voxel's centre
        for (int a = 0; a < 3; ++a) point[a] = (cell[a] + 0.5) * g.size[a];
        const double voxel = largestSide(g);
        double b[3], w;
        if (g.published) {
            w = 1 - dot(point - t.tri.p[0], t.normal);
            planeBarycentrics(t, point, b);
        } else {
            // A triangle that meets the voxel without area counts little, and by its point closest to the centre.
            const double touch = 1e-9 * voxel * voxel;
            Vec3 centroid;
            w = cutter.area(cell, centroid);
            const bool touches = !(w > touch);
            closestBarycentrics(t, touches ? point : centroid, b);
            w = touches ? touch : w;
        }
        double value[kAttrChannels];
        shade(in, f, t, levels, b, voxel, g.published, value);
        // Colour counts by what is visible of it, so that transparent texels do not tint opaque ones.
        const double c = g.published ? w : w * (value[8] + 1e-4);
        for (int i = 0; i < kAttrChannels; ++i) sums[i] += (i < 3 ? c : w) * value[i];
        weight += w;
        colorWeight += c;
    }
    OVOXEL_HD void finish(const ByteEncoder& encode, uint8_t out[kAttrChannels]) const {
        const double scale = 1 / weight, colorScale = 1 / colorWeight;
        Vec3 normal = {{sums[9], sums[10], sums[11]}};
        normal = encode.published ? normal * scale : normalized(normal);
        for (int i = 0; i < kAttrChannels; ++i) {
            const double value = i >= 9 ? normal[i - 9] : sums[i] * (i < 3 ? colorScale : scale);
            out[i] = encode(i, static_cast<float>(value));
        }
    }
    OVOXEL_HD static double largestSide(const GridSpec& g) {
        const double xy = g.size[0] > g.size[1] ? g.size[0] : g.size[1];
        return xy > g.size[2] ? xy : g.size[2];
    }
};

// The attributes as the caller gets them, one array each. [N, 3] base colour, emissive, normal; [N] the others.
struct AttrArrays {
    uint8_t* array[6];  // base colour, metallic, roughness, emissive, alpha, normal

    OVOXEL_HD void store(int64_t row, const uint8_t values[kAttrChannels]) const {
        for (int i = 0; i < 3; ++i) {
            array[0][3 * row + i] = values[i];
            array[3][3 * row + i] = values[5 + i];
            array[5][3 * row + i] = values[9 + i];
        }
        array[1][row] = values[3];
        array[2][row] = values[4];
        array[4][row] = values[8];
    }
};

constexpr int kAttrWidth[6] = {3, 1, 1, 3, 1, 3};

}  // namespace ovoxel
