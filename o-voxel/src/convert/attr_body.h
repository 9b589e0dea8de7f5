// Material of one triangle inside one voxel.
#pragma once

#include "convert/grid_body.h"
#include "convert/texture_body.h"

namespace ovoxel {

enum AlphaMode : int32_t { kOpaque = 0, kMask = 1, kBlend = 2 };
enum TextureSlot { kBaseColor, kAlpha, kMetallic, kRoughness, kEmissive, kNormal, kNumSlots };

struct Material {
    double baseColor[3], alpha, metallic, roughness, emissive[3], cutoff;
    int32_t alphaMode;
    int32_t texture[kNumSlots];  // index, or -1
    int32_t channel[kNumSlots];  // UV channel of the texture
};

// One triangle with its corner attributes; colors may be null (corner colours RGBA, linear).
struct ShadedTriangle {
    Triangle tri;
    const float *normals, *uvs, *colors;  // [3, 3], [3, numChannels, 2], [3, 4]
    int32_t numChannels;
    const Material* material;
};

struct AttrSample {
    double baseColor[3], metallic, roughness, emissive[3], alpha, normal[3];
};

// Barycentrics of the projection of p onto the triangle's plane, not clamped; thirds for a triangle without area.
OVOXEL_HD inline void planeBarycentrics(const Triangle& t, const Vec3& p, double b[3]) {
    const Vec3 e1 = t.p[1] - t.p[0], e2 = t.p[2] - t.p[0], q = p - t.p[0];
    const double d11 = dot(e1, e1), d12 = dot(e1, e2), d22 = dot(e2, e2), q1 = dot(q, e1), q2 = dot(q, e2);
    const double det = d11 * d22 - d12 * d12;
    if (!(det > 0)) {
        b[0] = b[1] = b[2] = 1.0 / 3.0;
        return;
    }
    b[1] = (d22 * q1 - d12 * q2) / det;
    b[2] = (d11 * q2 - d12 * q1) / det;
    b[0] = 1.0 - b[1] - b[2];
}

// Barycentrics of the closest point of the triangle: the projection if it is inside, else the best edge point.
OVOXEL_HD inline void closestBarycentrics(const Triangle& t, const Vec3& p, double b[3]) {
    planeBarycentrics(t, p, b);
    if (b[0] >= 0 && b[1] >= 0 && b[2] >= 0) return;
    double best = -1;
    double out[3] = {0, 0, 0};
    for (int i = 0; i < 3; ++i) {
        const int j = (i + 1) % 3;
        const Vec3 e = t.p[j] - t.p[i];
        const double length2 = dot(e, e);
        double s = length2 > 0 ? dot(p - t.p[i], e) / length2 : 0.0;
        s = s < 0 ? 0 : s > 1 ? 1 : s;
        const Vec3 gap = p - (t.p[i] + e * s);
        const double distance2 = dot(gap, gap);
        if (best >= 0 && !(distance2 < best)) continue;
        best = distance2;
        out[i] = 1 - s;
        out[j] = s;
        out[3 - i - j] = 0;
    }
    for (int i = 0; i < 3; ++i) b[i] = out[i];
}

// A triangle cut by six planes has at most nine corners; rounding in a triangle that lies in a plane can add more.
constexpr int kMaxPolygon = 16;

// Area and centroid of the part of the triangle inside the box [corner, corner + size] (Sutherland-Hodgman).
OVOXEL_HD inline double clippedArea(const Triangle& t, const Vec3& corner, const double size[3], Vec3& centroid) {
    Vec3 poly[kMaxPolygon], next[kMaxPolygon];
    int n = 3;
    for (int i = 0; i < 3; ++i) poly[i] = t.p[i] - corner;
    for (int plane = 0; plane < 6 && n > 0; ++plane) {
        const int a = plane >> 1;
        const double sign = plane & 1 ? -1.0 : 1.0, offset = plane & 1 ? size[a] : 0.0;
        bool outside = false;
        for (int i = 0; i < n; ++i) outside = outside || sign * poly[i][a] + offset < 0;
        if (!outside) continue;
        int m = 0;
        for (int i = 0; i < n; ++i) {
            const Vec3 &p = poly[i], &q = poly[(i + 1) % n];
            const double dp = sign * p[a] + offset, dq = sign * q[a] + offset;
            if (dp >= 0 && m < kMaxPolygon) next[m++] = p;
            if ((dp >= 0) != (dq >= 0) && m < kMaxPolygon) next[m++] = p + (q - p) * (dp / (dp - dq));
        }
        n = m;
        for (int i = 0; i < n; ++i) poly[i] = next[i];
    }
    double total = 0;
    Vec3 sum = {{0, 0, 0}};
    for (int i = 1; i + 1 < n; ++i) {
        const Vec3 normal = cross(poly[i] - poly[0], poly[i + 1] - poly[0]);
        const double area = 0.5 * std::sqrt(dot(normal, normal));
        total += area;
        sum = sum + (poly[0] + poly[i] + poly[i + 1]) * (area / 3.0);
    }
    if (total > 0) centroid = corner + sum * (1.0 / total);
    return total;
}

// How one UV channel lies on a triangle, and where barycentrics b fall in it.
struct UvFrame {
    double u, v, footprint;  // v down; footprint: size of the voxel in UV units
    Vec3 tangent, bitangent;
    bool degenerate;
};

OVOXEL_HD inline UvFrame uvFrame(const ShadedTriangle& s, int32_t channel, const double b[3], double footprint,
                                 bool published) {
    const int64_t corner = 2 * static_cast<int64_t>(s.numChannels);
    const float* uv = s.uvs + 2 * channel;
    UvFrame f;
    f.u = b[0] * uv[0] + b[1] * uv[corner] + b[2] * uv[2 * corner];
    f.v = 1 - (b[0] * uv[1] + b[1] * uv[corner + 1] + b[2] * uv[2 * corner + 1]);
    const Vec3 e1 = s.tri.p[1] - s.tri.p[0], e2 = s.tri.p[2] - s.tri.p[0];
    const double du1 = uv[corner] - uv[0], dv1 = uv[corner + 1] - uv[1];
    const double du2 = uv[2 * corner] - uv[0], dv2 = uv[2 * corner + 1] - uv[1];
    const double det = du1 * dv2 - dv1 * du2;
    const double scale = (du1 * du1 + dv1 * dv1) + (du2 * du2 + dv2 * dv2);
    f.degenerate = published ? std::fabs(det) < 1e-6 : !(std::fabs(det) > 1e-7 * scale);
    f.tangent = {{1, 0, 0}}, f.bitangent = {{0, 1, 0}};
    f.footprint = footprint / 1e6;
    if (!f.degenerate) {
        const Vec3 t = e1 * dv2 - e2 * dv1, bt = e2 * du1 - e1 * du2;
        const double lengthT = std::sqrt(dot(t, t)), lengthB = std::sqrt(dot(bt, bt));
        f.footprint = footprint * std::fabs(det) / std::sqrt(lengthT * lengthB);
        // The published frame ignores the handedness of the UV chart; mirrored charts need the sign.
        const double side = !published && det < 0 ? -1.0 : 1.0;
        f.tangent = lengthT > 0 ? t * (side / lengthT) : f.tangent;
        f.bitangent = lengthB > 0 ? bt * (side / lengthB) : f.bitangent;
    }
    return f;
}

// Evaluates the material at barycentrics b. `footprint` (mesh units) is the size of the voxel.
OVOXEL_HD inline AttrSample shade(const ShadedTriangle& s, const TextureView* textures, const double b[3],
                                  double footprint, double levelOffset, bool published) {
    const Material& m = *s.material;
    Vec3 normal = {{0, 0, 0}};
    double color[4] = {1, 1, 1, 1};
    for (int i = 0; i < 3; ++i)
        for (int a = 0; a < 3; ++a) normal[a] += b[i] * s.normals[3 * i + a];
    if (s.colors)
        for (int c = 0; c < 4; ++c) color[c] = b[0] * s.colors[c] + b[1] * s.colors[4 + c] + b[2] * s.colors[8 + c];

    UvFrame frame;
    int32_t channel = -1;  // of `frame`
    AttrSample out;
    double texel[3];
    auto look = [&](TextureSlot slot) {
        if (m.channel[slot] != channel) {
            channel = m.channel[slot];
            frame = uvFrame(s, channel, b, footprint, published);
        }
        sampleTexture(textures[m.texture[slot]], frame.u, frame.v, frame.footprint, levelOffset, texel);
    };
    for (int c = 0; c < 3; ++c) out.baseColor[c] = m.baseColor[c] * color[c];
    if (m.texture[kBaseColor] >= 0) {
        look(kBaseColor);
        for (int c = 0; c < 3; ++c) out.baseColor[c] *= texel[c];
    }
    out.metallic = m.metallic;
    if (m.texture[kMetallic] >= 0) {
        look(kMetallic);
        out.metallic *= texel[0];
    }
    out.roughness = m.roughness;
    if (m.texture[kRoughness] >= 0) {
        look(kRoughness);
        out.roughness *= texel[0];
    }
    for (int c = 0; c < 3; ++c) out.emissive[c] = m.emissive[c];
    if (m.texture[kEmissive] >= 0) {
        look(kEmissive);
        for (int c = 0; c < 3; ++c) out.emissive[c] *= texel[c];
    }
    out.alpha = 1;
    if (m.alphaMode != kOpaque) {
        out.alpha = m.alpha * color[3];
        if (m.texture[kAlpha] >= 0) {
            look(kAlpha);
            out.alpha *= texel[0];
        }
        if (m.alphaMode == kMask) out.alpha = out.alpha < m.cutoff ? 0 : 1;
    }
    if (!published) {
        normal = normalized(normal);
        if (dot(normal, normal) == 0) normal = normalized(cross(s.tri.p[1] - s.tri.p[0], s.tri.p[2] - s.tri.p[0]));
    }
    if (m.texture[kNormal] >= 0) {
        look(kNormal);
        const double x = 2 * texel[0] - 1, y = 2 * texel[1] - 1, z = 2 * texel[2] - 1;
        if (published || !frame.degenerate) normal = normalized(frame.tangent * x + frame.bitangent * y + normal * z);
    }
    for (int a = 0; a < 3; ++a) out.normal[a] = normal[a];
    return out;
}

}  // namespace ovoxel
