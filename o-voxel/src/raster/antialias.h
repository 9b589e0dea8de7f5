// Antialiasing of silhouette edges, its gradients, and the neighbours of triangles it needs.
// Based on: Laine et al., "Modular Primitives for High-Performance Differentiable Rendering", 2020, section 3.7; with
// homogeneous edge lines, so that no corner is divided by its w.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/device.h"
#include "common/host_device.h"
#include "raster/fragment.h"

namespace ovoxel {

// Coverage is decided on corners snapped to 1/256 pixel: the crossing may lie that little behind the pixel centre.
constexpr double kCrossingTolerance = 1.0 / 64;

// Where a pixel and its neighbour at +X (axis 0) or +Y (axis 1) are blended.
struct EdgeBlend {
    int64_t owner, other;  // pixels; the owner's triangle ends between them
    double distance;       // of the crossing from the owner's centre, [0, 1]
    bool bounded;          // the distance was brought into its range
    int corner;            // the edge is opposite this corner of `face`
    int64_t face;
};

struct AntialiasCall {
    const float* color;  // [B, H, W, C]
    const float* rast;   // [B, H, W, 4]
    const Corner* pos;   // [B or 1, V] clip space
    bool posBatched;
    int64_t numVertices;
    const int32_t* tri;       // [F, 3]
    const int32_t* opposite;  // [F, 3]
    int64_t numTriangles;
    int64_t batch;
    Viewport view;
    int64_t channels;

    OVOXEL_HD int64_t numPixels() const { return batch * view.height * view.width; }
    OVOXEL_HD const Corner* corners(int64_t b) const { return posBatched ? pos + b * numVertices : pos; }

    // The blend of a pixel (x, y of batch item b) with its neighbour along the axis; false if there is none.
    OVOXEL_HD bool find(int64_t b, int32_t x, int32_t y, int axis, EdgeBlend& out) const {
        if (axis == 0 ? x + 1 >= view.width : y + 1 >= view.height) return false;
        const int64_t first = (b * view.height + y) * view.width + x, second = first + (axis == 0 ? 1 : view.width);
        const float id0 = rast[4 * first + 3], id1 = rast[4 * second + 3];
        if (id0 == id1) return false;
        const int64_t face0 = decodeId(id0), face1 = decodeId(id1);
        const bool nearer = face1 < 0 || (face0 >= 0 && rast[4 * first + 2] <= rast[4 * second + 2]);
        out.owner = nearer ? first : second;
        out.other = nearer ? second : first;
        out.face = nearer ? face0 : face1;
        if (out.face >= numTriangles) return false;
        const double direction = nearer ? 1 : -1;
        ClipVertex v[3];
        if (!loadCorners(corners(b), numVertices, tri + 3 * out.face, v)) return false;
        const int step = nearer ? 0 : 1;
        const PixelCentre n(x + (axis == 0 ? step : 0), y + (axis == 1 ? step : 0), view);
        const EdgeValues e(v, n);
        const double det = v[0].w * e.a[0] + v[1].w * e.a[1] + v[2].w * e.a[2];
        const double facing = det > 0 ? 1 : det < 0 ? -1 : 0;
        // The first edge through which the segment to the neighbour leaves the triangle.
        double best = 2;
        bool steep = false;
        out.corner = -1;
        for (int k = 0; k < 3; ++k) {
            const double slopeX = e.slopeX(k, v) * view.perPixelX, slopeY = e.slopeY(k, v) * view.perPixelY;
            const double along = (axis == 0 ? slopeX : slopeY) * direction, across = axis == 0 ? slopeY : slopeX;
            if (!(along * facing < 0)) continue;
            const double distance = -e.a[k] / along;
            if (distance < best) {
                best = distance;
                out.corner = k;
                steep = fabs(along) >= fabs(across);
            }
        }
        if (out.corner < 0 || !steep || !(best >= -kCrossingTolerance && best <= 1)) return false;
        if (!silhouette(b, out.face, out.corner, v, facing)) return false;
        out.bounded = best < 0;
        out.distance = out.bounded ? 0 : best;
        return true;
    }

    // No other triangle continues at the edge, or one that faces the other way.
    OVOXEL_HD bool silhouette(int64_t b, int64_t face, int corner, const ClipVertex (&v)[3], double facing) const {
        const int32_t index = opposite[3 * face + corner];
        if (index < 0 || index >= numVertices) return true;
        const Corner p = corners(b)[index];
        const ClipVertex &a = v[(corner + 1) % 3], &c = v[(corner + 2) % 3];
        const double side = (a.y * c.w - a.w * c.y) * p.x + (a.w * c.x - a.x * c.w) * p.y +
                            (a.x * c.y - a.y * c.x) * p.w;
        return facing * side > 0;
    }

    OVOXEL_HD void split(int64_t pixel, int64_t& b, int32_t& x, int32_t& y) const {
        const int64_t pixels = static_cast<int64_t>(view.height) * view.width;
        b = batch == 1 ? 0 : pixel / pixels;
        const auto local = static_cast<uint32_t>(pixel - b * pixels);
        x = static_cast<int32_t>(local % static_cast<uint32_t>(view.width));
        y = static_cast<int32_t>(local / static_cast<uint32_t>(view.width));
    }

    // What happens between a pixel and its neighbours at +X and +Y: alpha > 0, the pixel moves by alpha towards the
    // neighbour; alpha < 0, the neighbour moves by -alpha towards the pixel.
    OVOXEL_HD void findAlphas(int64_t pixel, float* alphas) const {
        int64_t b;
        int32_t x, y;
        split(pixel, b, x, y);
        for (int axis = 0; axis < 2; ++axis) {
            EdgeBlend blend;
            float alpha = 0;
            if (find(b, x, y, axis, blend)) {
                constexpr float kLeast = 1e-37f;  // never 0: that means that there is no blend
                const auto weight = static_cast<float>(0.5 - blend.distance);
                alpha = blend.distance < 0.5 ? larger(weight, kLeast) : smaller(weight, -kLeast);
                if (blend.owner != pixel) alpha = -alpha;
            }
            alphas[2 * pixel + axis] = alpha;
        }
    }

    // Calls visit(neighbour, alpha) with alpha > 0 where the pixel moves towards the neighbour and alpha < 0 where the
    // neighbour moves towards the pixel, in the order left, right, low row, high row.
    template <class Visit>
    OVOXEL_HD void forEachBlend(int64_t pixel, const float* alphas, Visit&& visit) const {
        int64_t b;
        int32_t x, y;
        split(pixel, b, x, y);
        const int64_t step[2] = {1, view.width};
        for (int axis = 0; axis < 2; ++axis) {
            if ((axis == 0 ? x : y) > 0) {
                const float alpha = alphas[2 * (pixel - step[axis]) + axis];
                if (alpha != 0) visit(pixel - step[axis], -alpha);
            }
            const float alpha = alphas[2 * pixel + axis];
            if (alpha != 0) visit(pixel + step[axis], alpha);
        }
    }

    OVOXEL_HD void evaluate(int64_t pixel, const float* alphas, float* out) const {
        float* to = out + pixel * channels;
        for (int64_t c = 0; c < channels; ++c) to[c] = color[pixel * channels + c];
        forEachBlend(pixel, alphas, [&](int64_t neighbour, float alpha) {
            if (alpha < 0) return;
            for (int64_t c = 0; c < channels; ++c)
                to[c] += alpha * (color[neighbour * channels + c] - color[pixel * channels + c]);
        });
    }
};

// Gradients given gradOut [B, H, W, C]: gradColor is written, gradPos (shaped like pos) is added to; each may be null.
struct AntialiasGrad {
    AntialiasCall call;
    const float* alphas;  // [B, H, W, 2] from findAlphas
    const float* gradOut;
    float* gradColor;
    float* gradPos;

    OVOXEL_HD void colorGrad(int64_t pixel) const {
        const int64_t channels = call.channels;
        float* to = gradColor + pixel * channels;
        for (int64_t c = 0; c < channels; ++c) to[c] = gradOut[pixel * channels + c];
        call.forEachBlend(pixel, alphas, [&](int64_t neighbour, float alpha) {
            // Moving away from its own colour, or giving to a neighbour that moves towards it.
            const float* g = gradOut + (alpha > 0 ? pixel : neighbour) * channels;
            for (int64_t c = 0; c < channels; ++c) to[c] -= alpha * g[c];
        });
    }

    // Calls add(vertex component, value) for what the blends to the pixel's right and upper row give to the positions.
    template <class Add>
    OVOXEL_HD void posGrad(int64_t pixel, Add&& add) const {
        int64_t b;
        int32_t x, y;
        call.split(pixel, b, x, y);
        for (int axis = 0; axis < 2; ++axis) {
            EdgeBlend blend;
            if (alphas[2 * pixel + axis] == 0 || !call.find(b, x, y, axis, blend) || blend.bounded) continue;
            double g = 0;  // dL/d(distance): the blend is (0.5 - distance) (other - owner), added to one of the two
            const float* out = gradOut + (blend.distance < 0.5 ? blend.owner : blend.other) * call.channels;
            for (int64_t c = 0; c < call.channels; ++c)
                g -= out[c] * (call.color[blend.other * call.channels + c] - call.color[blend.owner * call.channels + c]);
            if (g != 0) edgeGrad(b, blend, axis, g, add);
        }
    }

    // distance = -a / along with a = line . (nx, ny, 1), along = +-(2 / size) line_axis, line = L_i x L_j, L = (x, y, w).
    template <class Add>
    OVOXEL_HD void edgeGrad(int64_t b, const EdgeBlend& blend, int axis, double g, Add&& add) const {
        const int32_t* row = call.tri + 3 * blend.face;
        ClipVertex v[3];
        if (!loadCorners(call.corners(b), call.numVertices, row, v)) return;
        int64_t item;
        int32_t x, y;
        call.split(blend.owner, item, x, y);
        const PixelCentre n(x, y, call.view);
        const EdgeValues e(v, n);
        const int k = blend.corner, i = (k + 1) % 3, j = (k + 2) % 3;
        const double perPixel = axis == 0 ? call.view.perPixelX : call.view.perPixelY;
        const double scale = blend.other > blend.owner ? perPixel : -perPixel;
        const double along = (axis == 0 ? e.slopeX(k, v) : e.slopeY(k, v)) * scale;
        const double ga = -g / along, gAlong = g * e.a[k] / (along * along) * scale;
        const double gx = ga * n.x + (axis == 0 ? gAlong : 0), gy = ga * n.y + (axis == 1 ? gAlong : 0), gw = ga;
        const double out[2][3] = {
            {v[j].y * gw - v[j].w * gy, v[j].w * gx - v[j].x * gw, v[j].x * gy - v[j].y * gx},
            {gy * v[i].w - gw * v[i].y, gw * v[i].x - gx * v[i].w, gx * v[i].y - gy * v[i].x}};
        const int64_t base = call.posBatched ? b * call.numVertices : 0;
        for (int s = 0; s < 2; ++s) {
            const int64_t at = 4 * (base + row[s ? j : i]);
            for (int c = 0; c < 3; ++c)
                if (fabs(out[s][c]) < 1e30) add(at + (c == 2 ? 3 : c), static_cast<float>(out[s][c]));
        }
    }
};

// out [F, 3]: the vertex across the edge opposite each corner, -1 where no other triangle continues. Triangles with a
// repeated corner are left out; of more than two triangles at an edge the smallest and largest opposite vertex count.
void edgeNeighboursOnHost(const int32_t* tri, int64_t numTriangles, int32_t* out);
void edgeNeighboursOnDevice(Workspace& workspace, const int32_t* tri, int64_t numTriangles, int32_t* out);

// Writes alphas [B, H, W, 2] and out [B, H, W, C].
void antialiasOnHost(const AntialiasCall& call, float* alphas, float* out);
void antialiasOnDevice(const Workspace& workspace, const AntialiasCall& call, float* alphas, float* out);
void antialiasGradOnHost(const AntialiasGrad& grad);
void antialiasGradOnDevice(const Workspace& workspace, const AntialiasGrad& grad);

}  // namespace ovoxel
