#include "mesh/bvh.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace ovoxel::mesh {
namespace {

constexpr int64_t kLeafSize = 4;
constexpr double kInf = std::numeric_limits<double>::infinity();

float roundDown(double v) {
    const float f = static_cast<float>(v);
    return f > v ? std::nextafterf(f, -std::numeric_limits<float>::infinity()) : f;
}

float roundUp(double v) {
    const float f = static_cast<float>(v);
    return f < v ? std::nextafterf(f, std::numeric_limits<float>::infinity()) : f;
}

// Squared distance of p to the segment ab; s is the weight of b.
double segmentDistance2(const Vec3& p, const Vec3& a, const Vec3& b, double& s) {
    const Vec3 ab = b - a;
    const double length2 = norm2(ab);
    s = length2 > 0 ? std::clamp(dot(p - a, ab) / length2, 0.0, 1.0) : 0.0;
    return norm2(a + ab * s - p);
}

// Closest point on a triangle by Voronoi regions (Ericson, Real-Time Collision Detection, 5.1.5); triangles without
// area are treated as their three segments.
double triangleDistance2(const Vec3& p, const Vec3& a, const Vec3& b, const Vec3& c, double uvw[3]) {
    const Vec3 ab = b - a, ac = c - a;
    const double area2 = norm2(cross(ab, ac)), longest2 = std::max({norm2(ab), norm2(ac), norm2(c - b)});
    if (!(area2 > 1e-24 * longest2 * longest2)) {
        const Vec3* corner[3] = {&a, &b, &c};
        double best = kInf;
        for (int k = 0; k < 3; ++k) {
            double s;
            const double d = segmentDistance2(p, *corner[k], *corner[(k + 1) % 3], s);
            if (d < best) {
                best = d;
                uvw[k] = 1 - s, uvw[(k + 1) % 3] = s, uvw[(k + 2) % 3] = 0;
            }
        }
        return best;
    }
    auto finish = [&](double u, double v, double w) {
        uvw[0] = u, uvw[1] = v, uvw[2] = w;
        return norm2(a * u + b * v + c * w - p);
    };
    const Vec3 ap = p - a;
    const double d1 = dot(ab, ap), d2 = dot(ac, ap);
    if (d1 <= 0 && d2 <= 0) return finish(1, 0, 0);
    const Vec3 bp = p - b;
    const double d3 = dot(ab, bp), d4 = dot(ac, bp);
    if (d3 >= 0 && d4 <= d3) return finish(0, 1, 0);
    const double vc = d1 * d4 - d3 * d2;
    if (vc <= 0 && d1 >= 0 && d3 <= 0) {
        const double v = d1 / (d1 - d3);
        return finish(1 - v, v, 0);
    }
    const Vec3 cp = p - c;
    const double d5 = dot(ab, cp), d6 = dot(ac, cp);
    if (d6 >= 0 && d5 <= d6) return finish(0, 0, 1);
    const double vb = d5 * d2 - d1 * d6;
    if (vb <= 0 && d2 >= 0 && d6 <= 0) {
        const double w = d2 / (d2 - d6);
        return finish(1 - w, 0, w);
    }
    const double va = d3 * d6 - d5 * d4;
    if (va <= 0 && d4 - d3 >= 0 && d5 - d6 >= 0) {
        const double w = (d4 - d3) / ((d4 - d3) + (d5 - d6));
        return finish(0, 1 - w, w);
    }
    const double v = vb / (va + vb + vc), w = vc / (va + vb + vc);
    return finish(1 - v - w, v, w);
}

}  // namespace

Bvh::Bvh(std::vector<Vec3> vertices, std::vector<int32_t> faces)
    : vertices_(std::move(vertices)), faces_(std::move(faces)) {
    const int64_t n = static_cast<int64_t>(faces_.size() / 3);
    order_.resize(n);
    std::iota(order_.begin(), order_.end(), 0);
    normals_.resize(n);
    std::vector<Vec3> centres(n);
    for (int64_t f = 0; f < n; ++f) {
        const Vec3 &a = vertices_[faces_[3 * f]], &b = vertices_[faces_[3 * f + 1]], &c = vertices_[faces_[3 * f + 2]];
        centres[f] = (a + b + c) * (1.0 / 3);
        const Vec3 normal = cross(b - a, c - a);
        const double length = norm(normal);
        normals_[f] = length > 0 ? normal * (1 / length) : Vec3{};
    }
    nodes_.reserve(std::max<int64_t>(1, n));
    if (n > 0) build(0, n, centres);
}

int32_t Bvh::build(int64_t begin, int64_t end, const std::vector<Vec3>& centres) {
    const int32_t index = static_cast<int32_t>(nodes_.size());
    nodes_.emplace_back();
    Vec3 lo{kInf, kInf, kInf}, hi{-kInf, -kInf, -kInf}, clo = lo, chi = hi;
    auto grow = [](Vec3& l, Vec3& h, const Vec3& p) {
        l = {std::min(l.x, p.x), std::min(l.y, p.y), std::min(l.z, p.z)};
        h = {std::max(h.x, p.x), std::max(h.y, p.y), std::max(h.z, p.z)};
    };
    for (int64_t i = begin; i < end; ++i) {
        for (int k = 0; k < 3; ++k) grow(lo, hi, vertices_[faces_[3 * static_cast<int64_t>(order_[i]) + k]]);
        grow(clo, chi, centres[order_[i]]);
    }
    for (int k = 0; k < 3; ++k) {
        nodes_[index].lo[k] = roundDown(lo[k]);
        nodes_[index].hi[k] = roundUp(hi[k]);
    }
    if (end - begin <= kLeafSize) {
        nodes_[index].first = static_cast<int32_t>(begin);
        nodes_[index].count = static_cast<int32_t>(end - begin);
        return index;
    }
    const Vec3 size = chi - clo;
    const int axis = size.x >= size.y && size.x >= size.z ? 0 : (size.y >= size.z ? 1 : 2);
    const int64_t middle = (begin + end) / 2;
    std::nth_element(order_.begin() + begin, order_.begin() + middle, order_.begin() + end, [&](int32_t l, int32_t r) {
        const double a = centres[l][axis], b = centres[r][axis];
        return a != b ? a < b : l < r;
    });
    nodes_[index].count = 0;
    build(begin, middle, centres);
    const int32_t right = build(middle, end, centres);
    nodes_[index].first = right;
    return index;
}

Nearest Bvh::nearest(const Vec3& p, int64_t hint, const Vec3* normal, double minCos) const {
    Nearest best{kInf, -1, {0, 0, 0}};
    auto offer = [&](int64_t f) {
        if (normal && dot(normals_[f], *normal) < minCos) return;
        double uvw[3];
        const double d = triangleDistance2(p, vertices_[faces_[3 * f]], vertices_[faces_[3 * f + 1]],
                                           vertices_[faces_[3 * f + 2]], uvw);
        if (d < best.distance2 || (d == best.distance2 && f < best.face)) {
            best = {d, f, {uvw[0], uvw[1], uvw[2]}};
        }
    };
    if (nodes_.empty() || order_.empty()) return best;
    if (hint >= 0) offer(hint);
    // A lower bound: shrunk a little, so that equal distances in another box are still looked at.
    auto boxDistance2 = [&](const Node& node) {
        double d2 = 0;
        for (int k = 0; k < 3; ++k) {
            const double v = p[k];
            const double d = std::max({node.lo[k] - v, v - node.hi[k], 0.0});
            d2 += d * d;
        }
        return d2 * (1 - 1e-12);
    };
    struct Entry {
        int32_t node;
        double d2;
    };
    Entry stack[96];  // the tree is balanced: depth <= log2(2^31) and each level leaves at most one entry
    int top = 0;
    stack[top++] = {0, boxDistance2(nodes_[0])};
    while (top > 0) {
        const Entry entry = stack[--top];
        if (entry.d2 > best.distance2) continue;
        const Node& node = nodes_[entry.node];
        if (node.count > 0) {
            for (int32_t i = 0; i < node.count; ++i) offer(order_[node.first + i]);
            continue;
        }
        Entry left{entry.node + 1, boxDistance2(nodes_[entry.node + 1])};
        Entry right{node.first, boxDistance2(nodes_[node.first])};
        if (left.d2 > right.d2) std::swap(left, right);
        if (right.d2 <= best.distance2) stack[top++] = right;
        if (left.d2 <= best.distance2) stack[top++] = left;
    }
    return best;
}

// Woop, Benthin & Wald, Watertight Ray/Triangle Intersection, 2013, in double precision; edges belong to both faces.
bool Bvh::intersect(int64_t face, const Vec3& origin, const Vec3& direction, double& t) const {
    const double ax = std::abs(direction.x), ay = std::abs(direction.y), az = std::abs(direction.z);
    const int kz = ax >= ay && ax >= az ? 0 : (ay >= az ? 1 : 2);
    const int kx = (kz + 1) % 3, ky = (kz + 2) % 3;
    const double sz = 1 / direction[kz], sx = direction[kx] * sz, sy = direction[ky] * sz;
    double x[3], y[3], z[3];
    for (int k = 0; k < 3; ++k) {
        const Vec3 v = vertices_[faces_[3 * face + k]] - origin;
        x[k] = v[kx] - sx * v[kz];
        y[k] = v[ky] - sy * v[kz];
        z[k] = sz * v[kz];
    }
    const double u = x[2] * y[1] - y[2] * x[1], v = x[0] * y[2] - y[0] * x[2], w = x[1] * y[0] - y[1] * x[0];
    if ((u < 0 || v < 0 || w < 0) && (u > 0 || v > 0 || w > 0)) return false;
    const double det = u + v + w;
    if (det == 0) return false;
    t = (u * z[0] + v * z[1] + w * z[2]) / det;
    return true;
}

template <class Visit>
void Bvh::walkRay(const Vec3& origin, const Vec3& direction, double tMin, Visit&& visit) const {
    if (nodes_.empty() || order_.empty()) return;
    double inverse[3];
    for (int k = 0; k < 3; ++k) inverse[k] = 1 / direction[k];
    int32_t stack[96];
    int top = 0;
    stack[top++] = 0;
    double limit = kInf;
    while (top > 0) {
        const Node& node = nodes_[stack[--top]];
        double t0 = tMin, t1 = limit;
        for (int k = 0; k < 3 && t0 <= t1; ++k) {
            double near = (node.lo[k] - origin[k]) * inverse[k], far = (node.hi[k] - origin[k]) * inverse[k];
            if (std::isnan(near) || std::isnan(far)) {  // the ray lies in a plane of the box
                if (origin[k] < node.lo[k] || origin[k] > node.hi[k]) t0 = kInf, t1 = -kInf;
                continue;
            }
            if (near > far) std::swap(near, far);
            t0 = std::max(t0, near - 1e-12 * std::abs(near));
            t1 = std::min(t1, far + 1e-12 * std::abs(far));
        }
        if (t0 > t1) continue;
        if (node.count > 0) {
            for (int32_t i = 0; i < node.count; ++i) visit(static_cast<int64_t>(order_[node.first + i]), limit);
            continue;
        }
        stack[top++] = node.first;
        stack[top++] = static_cast<int32_t>(&node - nodes_.data()) + 1;
    }
}

RayHit Bvh::trace(const Vec3& origin, const Vec3& direction, double tMin) const {
    RayHit best{kInf, -1};
    walkRay(origin, direction, tMin, [&](int64_t f, double& limit) {
        double t;
        if (!intersect(f, origin, direction, t) || t < tMin) return;
        if (t < best.t || (t == best.t && f < best.face)) {
            best = {t, f};
            limit = t;
        }
    });
    return best;
}

int64_t Bvh::countHits(const Vec3& origin, const Vec3& direction, double tMin, int64_t maxHits) const {
    int64_t hits = 0;
    walkRay(origin, direction, tMin, [&](int64_t f, double& limit) {
        double t;
        if (hits < maxHits && intersect(f, origin, direction, t) && t >= tMin) ++hits;
        if (hits >= maxHits) limit = -kInf;  // no box is entered any more
    });
    return hits;
}

}  // namespace ovoxel::mesh
