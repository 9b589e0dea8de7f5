// Gradient of (u, v, z/w) and of the derivatives of u and v with respect to the corners of a triangle, at one pixel.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"
#include "raster/fragment.h"

namespace ovoxel {

// Adds dL/d(x, y, z, w) of the three corners to `corners` [3, 4], given dL/d(u, v, z/w, .) and dL/d(du/dX, du/dY, dv/dX,
// dv/dY) (either may be null). Adds nothing where the triangle has no area. The bounds on u and v count (a bounded value
// does not move), their derivatives are those of the unbounded functions.
OVOXEL_HD inline void barycentricGrad(const ClipVertex (&v)[3], int32_t px, int32_t py, const Viewport& view,
                                      const float* gradRast, const float* gradDb, double* corners) {
    const PixelCentre n(px, py, view);
    const EdgeValues e(v, n);
    const double inverse = 1 / e.sum, uv[2] = {e.a[0] * inverse, e.a[1] * inverse};
    double gradUv[2] = {0, 0}, gradA[3] = {0, 0, 0}, gradSum = 0;
    double gradSlopeX[3] = {0, 0, 0}, gradSlopeY[3] = {0, 0, 0}, gradZ[3] = {0, 0, 0}, gradW[3] = {0, 0, 0};

    if (gradRast) {
        double bounded[2], g[2] = {gradRast[0], gradRast[1]};
        for (int k = 0; k < 2; ++k) bounded[k] = smaller(1.0, larger(0.0, uv[k]));
        const double scale = bounded[0] + bounded[1];
        if (scale > 1) {
            const double shared = (g[0] * bounded[0] + g[1] * bounded[1]) / (scale * scale);
            for (int k = 0; k < 2; ++k) g[k] = g[k] / scale - shared;
        }
        for (int k = 0; k < 2; ++k) gradUv[k] = uv[k] >= 0 && uv[k] <= 1 ? g[k] : 0;

        double numerator = 0, det = 0;
        for (int k = 0; k < 3; ++k) {
            numerator += v[k].z * e.a[k];
            det += v[k].w * e.a[k];
        }
        const double gradNumerator = gradRast[2] / det, gradDet = -gradNumerator * numerator / det;
        for (int k = 0; k < 3; ++k) {
            gradA[k] = gradNumerator * v[k].z + gradDet * v[k].w;
            gradZ[k] = gradNumerator * e.a[k];
            gradW[k] = gradDet * e.a[k];
        }
    }
    if (gradDb) {
        // du/dX = (a0' - u sum') / sum, with ' the slope per NDC unit times 2 / size.
        double slope[2][3];
        for (int k = 0; k < 3; ++k) {
            slope[0][k] = e.slopeX(k, v);
            slope[1][k] = e.slopeY(k, v);
        }
        for (int axis = 0; axis < 2; ++axis) {
            const double total = slope[axis][0] + slope[axis][1] + slope[axis][2];
            double* gradSlope = axis ? gradSlopeY : gradSlopeX;
            for (int k = 0; k < 2; ++k) {
                const double h = gradDb[2 * k + axis] * (axis ? view.perPixelY : view.perPixelX) * inverse;
                gradSlope[k] += h;
                for (int j = 0; j < 3; ++j) gradSlope[j] -= h * uv[k];
                gradUv[k] -= h * total;
                gradSum -= h * (slope[axis][k] - uv[k] * total) * inverse;
            }
        }
    }
    for (int k = 0; k < 2; ++k) {
        gradA[k] += gradUv[k] * inverse;
        gradSum -= gradUv[k] * uv[k] * inverse;
    }

    // a_k = line_k . (nx, ny, 1) with line_k = L_i x L_j, L = (x, y, w): gradients of L_i and L_j are cross products.
    double out[12] = {};
    for (int k = 0; k < 3; ++k) {
        const double ga = gradA[k] + gradSum;
        const double gx = ga * n.x + gradSlopeX[k], gy = ga * n.y + gradSlopeY[k], gw = ga;
        const int i = (k + 1) % 3, j = (k + 2) % 3;
        out[4 * i] += v[j].y * gw - v[j].w * gy;
        out[4 * i + 1] += v[j].w * gx - v[j].x * gw;
        out[4 * i + 3] += v[j].x * gy - v[j].y * gx;
        out[4 * j] += gy * v[i].w - gw * v[i].y;
        out[4 * j + 1] += gw * v[i].x - gx * v[i].w;
        out[4 * j + 3] += gx * v[i].y - gy * v[i].x;
        out[4 * k + 2] += gradZ[k];
        out[4 * k + 3] += gradW[k];
    }
    double magnitude = 0;
    for (double value : out) magnitude += fabs(value);
    if (!(magnitude < 1e30)) return;  // no area, or next to none
    for (int i = 0; i < 12; ++i) corners[i] += out[i];
}

}  // namespace ovoxel
