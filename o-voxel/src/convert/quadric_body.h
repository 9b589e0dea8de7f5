// Quadric error functions and their minimiser inside one voxel. All in double, relative to the voxel's lower corner,
// so that precision does not depend on the resolution.
#pragma once

#include "convert/grid_body.h"

namespace ovoxel {

// E(x) = x'Ax + 2 b'x + c with symmetric A.
struct Quadric {
    double lower[6] = {};  // A: xx, yx, yy, zx, zy, zz
    double b[3] = {};
    double c = 0;

    OVOXEL_HD double A(int i, int j) const { return i >= j ? lower[i * (i + 1) / 2 + j] : lower[j * (j + 1) / 2 + i]; }

    // Squared distance to the plane through p with unit normal n.
    OVOXEL_HD void addPlane(const Vec3& n, const Vec3& p, double weight) {
        const double d = -dot(n, p);
        for (int i = 0; i < 3; ++i) {
            for (int j = 0; j <= i; ++j) lower[i * (i + 1) / 2 + j] += weight * n[i] * n[j];
            b[i] += weight * n[i] * d;
        }
        c += weight * d * d;
    }
    // Squared distance to the line through p with unit direction d.
    OVOXEL_HD void addLine(const Vec3& d, const Vec3& p, double weight) {
        const Vec3 q = p - d * dot(d, p);  // (I - dd')p
        for (int i = 0; i < 3; ++i) {
            for (int j = 0; j <= i; ++j) lower[i * (i + 1) / 2 + j] += weight * ((i == j ? 1.0 : 0.0) - d[i] * d[j]);
            b[i] -= weight * q[i];
        }
        c += weight * dot(p, q);
    }
    // Squared distance to the point p.
    OVOXEL_HD void addPoint(const Vec3& p, double weight) {
        for (int i = 0; i < 3; ++i) {
            lower[i * (i + 1) / 2 + i] += weight;
            b[i] -= weight * p[i];
        }
        c += weight * dot(p, p);
    }
    OVOXEL_HD double operator()(const double x[3]) const {
        double e = c;
        for (int i = 0; i < 3; ++i) {
            double row = 2 * b[i];
            for (int j = 0; j < 3; ++j) row += A(i, j) * x[j];
            e += x[i] * row;
        }
        return e;
    }
};

// Unconstrained minimiser. The displacement from `origin` is damped by 1e-9 of the trace of A, so that directions in
// which the error does not change keep the origin and others are unaffected.
OVOXEL_HD inline void minimizeFree(const Quadric& q, const Vec3& origin, double x[3]) {
    const double damping = 1e-9 * (q.A(0, 0) + q.A(1, 1) + q.A(2, 2));
    double L[3][3], y[3];  // Cholesky factor of A + damping I
    for (int i = 0; i < 3; ++i) {
        y[i] = -(q.b[i] + q.A(i, 0) * origin[0] + q.A(i, 1) * origin[1] + q.A(i, 2) * origin[2]);
        for (int j = 0; j <= i; ++j) {
            double value = q.A(i, j) + (i == j ? damping : 0.0);
            for (int k = 0; k < j; ++k) value -= L[i][k] * L[j][k];
            if (i == j && !(value > 0)) {  // A is zero
                for (int a = 0; a < 3; ++a) x[a] = origin[a];
                return;
            }
            L[i][j] = i == j ? std::sqrt(value) : value / L[j][j];
        }
    }
    for (int i = 0; i < 3; ++i) {
        for (int k = 0; k < i; ++k) y[i] -= L[i][k] * y[k];
        y[i] /= L[i][i];
    }
    for (int i = 2; i >= 0; --i) {
        for (int k = i + 1; k < 3; ++k) y[i] -= L[k][i] * y[k];
        y[i] /= L[i][i];
    }
    for (int i = 0; i < 3; ++i) x[i] = origin[i] + y[i];
}

// Exact minimiser over the closed box [0, size]: the free minimiser if it lies inside, else the best of the stationary
// points of faces and edges and of the corners; on equal error the earlier one.
OVOXEL_HD inline void minimizeInBox(const Quadric& q, const Vec3& origin, const double size[3], double x[3]) {
    minimizeFree(q, origin, x);
    bool inside = true;
    for (int a = 0; a < 3; ++a) inside = inside && x[a] >= 0 && x[a] <= size[a];
    if (inside) return;

    double best = 0;
    bool found = false;
    double out[3] = {0, 0, 0};
    auto consider = [&](const double c[3]) {
        const double e = q(c);
        if (found && !(e < best)) return;
        found = true;
        best = e;
        for (int a = 0; a < 3; ++a) out[a] = c[a];
    };
    for (int a = 0; a < 3; ++a) {
        const int i = (a + 1) % 3, j = (a + 2) % 3;
        for (int side = 0; side < 2; ++side) {
            double c[3];
            c[a] = side ? size[a] : 0.0;
            const double ri = -(q.b[i] + q.A(i, a) * c[a]), rj = -(q.b[j] + q.A(j, a) * c[a]);
            const double det = q.A(i, i) * q.A(j, j) - q.A(i, j) * q.A(i, j);
            c[i] = (ri * q.A(j, j) - rj * q.A(i, j)) / det;
            c[j] = (rj * q.A(i, i) - ri * q.A(i, j)) / det;
            if (c[i] >= 0 && c[i] <= size[i] && c[j] >= 0 && c[j] <= size[j]) consider(c);
        }
    }
    for (int a = 0; a < 3; ++a) {
        const int i = (a + 1) % 3, j = (a + 2) % 3;
        for (int sides = 0; sides < 4; ++sides) {
            double c[3];
            c[i] = sides & 2 ? size[i] : 0.0;
            c[j] = sides & 1 ? size[j] : 0.0;
            c[a] = -(q.b[a] + q.A(a, i) * c[i] + q.A(a, j) * c[j]) / q.A(a, a);
            if (c[a] >= 0 && c[a] <= size[a]) consider(c);
        }
    }
    for (int corner = 7; corner >= 0; --corner) {
        const double c[3] = {corner & 4 ? size[0] : 0.0, corner & 2 ? size[1] : 0.0, corner & 1 ? size[2] : 0.0};
        consider(c);
    }
    for (int a = 0; a < 3; ++a) x[a] = out[a];
}

}  // namespace ovoxel
