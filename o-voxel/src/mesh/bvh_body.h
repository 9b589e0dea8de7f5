// A bounding-volume hierarchy over triangles, and the queries on it: the part that CPU and GPU share.
//
// Triangles are sorted so that four consecutive ones make a leaf, four consecutive leaves a node, and so on: a complete
// 4-ary tree without pointers. It is cut from the top down, across the longest extent of what a node holds (overlap
// minimizing top-down packing: T. Lee and S. Lee, 2003). Boxes are float and rounded outward; distances and ray hits are
// double, so that every result is the exact minimum over all triangles by (distance, face id), whatever the order of the
// visits.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/host_device.h"
#include "mesh/vec3.h"

#if defined(__SSE2__) && !defined(__CUDA_ARCH__)
#define OVOXEL_BVH_SSE
#include <emmintrin.h>
#endif

namespace ovoxel::mesh {

constexpr int kBvhWidth = 4;          // children of a node, triangles of a leaf
constexpr int kBvhMaxLevels = 15;     // levels of nodes above the leaves
constexpr int kBvhStack = 3 * kBvhMaxLevels + 1;
constexpr int64_t kBvhMaxFaces = int64_t{1} << 30;

struct alignas(16) BvhNode {
    float lo[3][kBvhWidth], hi[3][kBvhWidth];  // boxes of the children; lo > hi where there is none
};

// Numbers of the levels, from the parents of leaves (level 0) to the root.
struct BvhLayout {
    int64_t faces = 0, leaves = 0, nodes = 0;
    int levels = 0;
    int64_t first[kBvhMaxLevels] = {};  // of each level in the node array

    BvhLayout() = default;
    explicit BvhLayout(int64_t numFaces) : faces(numFaces), leaves((numFaces + kBvhWidth - 1) / kBvhWidth) {
        for (int64_t below = leaves; below > 0;) {
            const int64_t count = (below + kBvhWidth - 1) / kBvhWidth;
            first[levels++] = nodes;
            nodes += count;
            below = count > 1 ? count : 0;
        }
    }
    OVOXEL_HD int64_t count(int level) const { return (level + 1 < levels ? first[level + 1] : nodes) - first[level]; }
};

// Corners of the four triangles of leaf l: coordinate c (3 * corner + axis) of triangle k at [36 * l + 4 * c + k].
struct BvhView {
    BvhLayout layout;
    const BvhNode* nodes;
    const float* corners;  // one of these two is set: float where the vertices are exactly floats
    const double* wideCorners;
    const int32_t* ids;  // [4 * leaves] face, -1 beyond the last
};

// An array of float or double, read as double.
struct Reals {
    const float* narrow;
    const double* wide;
    OVOXEL_HD double operator[](int64_t i) const { return wide ? wide[i] : static_cast<double>(narrow[i]); }
    OVOXEL_HD Vec3 row(int64_t i) const { return {(*this)[3 * i], (*this)[3 * i + 1], (*this)[3 * i + 2]}; }
    OVOXEL_HD explicit operator bool() const { return narrow || wide; }
};

// Where results go, in the same width.
struct RealsOut {
    float* narrow;
    double* wide;
    OVOXEL_HD void set(int64_t i, double value) const {
        if (wide)
            wide[i] = value;
        else
            narrow[i] = static_cast<float>(value);
    }
    OVOXEL_HD explicit operator bool() const { return narrow || wide; }
};

OVOXEL_HD inline uint32_t floatBits(float value) {  // keeps the order of values >= 0
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}
OVOXEL_HD inline float bitsFloat(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

// The nearest float that is not larger, or not smaller.
OVOXEL_HD inline float roundDown(double v) {
    const float f = static_cast<float>(v);
    if (!(static_cast<double>(f) > v)) return f;
    return f > 0 ? bitsFloat(floatBits(f) - 1) : (f < 0 ? bitsFloat(floatBits(f) + 1) : bitsFloat(0x80000001u));
}
OVOXEL_HD inline float roundUp(double v) { return -roundDown(-v); }

OVOXEL_HD inline float larger(float a, float b) { return b > a ? b : a; }  // a if b is not a number
OVOXEL_HD inline float smaller(float a, float b) { return b < a ? b : a; }
OVOXEL_HD inline double larger(double a, double b) { return b > a ? b : a; }

OVOXEL_HD inline Vec3 bvhCorner(const BvhView& bvh, int64_t leaf, int k, int corner) {
    const int64_t at = 9 * kBvhWidth * leaf + 3 * kBvhWidth * corner + k;
    if (bvh.wideCorners) return {bvh.wideCorners[at], bvh.wideCorners[at + kBvhWidth], bvh.wideCorners[at + 2 * kBvhWidth]};
    return {bvh.corners[at], bvh.corners[at + kBvhWidth], bvh.corners[at + 2 * kBvhWidth]};
}

// Squared distance of p to the segment ab; s is the weight of b.
OVOXEL_HD inline double segmentDistance2(const Vec3& p, const Vec3& a, const Vec3& b, double& s) {
    const Vec3 ab = b - a;
    const double length2 = norm2(ab);
    s = length2 > 0 ? dot(p - a, ab) / length2 : 0.0;
    s = s < 0 ? 0.0 : (s > 1 ? 1.0 : s);
    return norm2(a + ab * s - p);
}

// Weights of the closest point of a triangle, as those of its 2nd and 3rd corner, by Voronoi regions (Ericson,
// Real-Time Collision Detection, 5.1.5); triangles without area are treated as their three segments. Returns the squared
// distance.
OVOXEL_HD inline double triangleDistance2(const Vec3& p, const Vec3& a, const Vec3& b, const Vec3& c, double& v,
                                          double& w) {
    const Vec3 ab = b - a, ac = c - a;
    const double area2 = norm2(cross(ab, ac)), longest2 = larger(larger(norm2(ab), norm2(ac)), norm2(c - b));
    if (!(area2 > 1e-24 * longest2 * longest2)) {
        double s, best = segmentDistance2(p, a, b, s);
        v = s, w = 0;
        double d = segmentDistance2(p, b, c, s);
        if (d < best) best = d, v = 1 - s, w = s;
        d = segmentDistance2(p, c, a, s);
        if (d < best) best = d, v = 0, w = 1 - s;
        return best;
    }
    const Vec3 ap = p - a, bp = p - b, cp = p - c;
    const double d1 = dot(ab, ap), d2 = dot(ac, ap), d3 = dot(ab, bp), d4 = dot(ac, bp), d5 = dot(ab, cp),
                 d6 = dot(ac, cp);
    const double va = d3 * d6 - d5 * d4, vb = d5 * d2 - d1 * d6, vc = d1 * d4 - d3 * d2;
    if (d1 <= 0 && d2 <= 0) {
        v = 0, w = 0;
    } else if (d3 >= 0 && d4 <= d3) {
        v = 1, w = 0;
    } else if (vc <= 0 && d1 >= 0 && d3 <= 0) {
        v = d1 / (d1 - d3), w = 0;
    } else if (d6 >= 0 && d5 <= d6) {
        v = 0, w = 1;
    } else if (vb <= 0 && d2 >= 0 && d6 <= 0) {
        v = 0, w = d2 / (d2 - d6);
    } else if (va <= 0 && d4 - d3 >= 0 && d5 - d6 >= 0) {
        w = (d4 - d3) / ((d4 - d3) + (d5 - d6)), v = 1 - w;
    } else {
        v = vb / (va + vb + vc), w = vc / (va + vb + vc);
    }
    return norm2(ap - ab * v - ac * w);
}

// Entries of the traversal: level + 1 (0: a leaf) above 28 bits of number inside the level.
OVOXEL_HD inline uint32_t bvhItem(int level, int64_t index) {
    return static_cast<uint32_t>(level + 1) << 28 | static_cast<uint32_t>(index);
}

OVOXEL_HD inline void sortTwo(uint32_t& a, uint32_t& b) {
    const uint32_t low = a < b ? a : b, high = a < b ? b : a;
    a = low, b = high;
}
OVOXEL_HD inline void sortFour(uint32_t key[4]) {
    sortTwo(key[0], key[1]);
    sortTwo(key[2], key[3]);
    sortTwo(key[0], key[2]);
    sortTwo(key[1], key[3]);
    sortTwo(key[1], key[2]);
}

// Visits leaves from near to far. bound(node, b) sets lower bounds >= 0 for the children, infinite for those that do not
// count; open(b) tells whether something that far can still matter (monotone, false for infinity, and sooner or later
// for more and more); leaf(index) looks at a leaf.
template <class Bound, class Open, class Leaf>
OVOXEL_HD inline void walkBvh(const BvhView& bvh, Bound&& bound, Open&& open, Leaf&& leaf) {
    if (bvh.layout.faces == 0) return;
    uint32_t items[kBvhStack];
    float bounds[kBvhStack];
    int top = 0;
    uint32_t item = bvhItem(bvh.layout.levels - 1, 0);
    for (;;) {
        const int level = static_cast<int>(item >> 28) - 1;
        const uint32_t index = item & 0xfffffffu;
        if (level < 0) {
            leaf(static_cast<int64_t>(index));
        } else {
            float b[kBvhWidth];
            bound(bvh.nodes[bvh.layout.first[level] + index], b);
            uint32_t key[kBvhWidth];  // bound with the number of the child in its last two bits
            for (int k = 0; k < kBvhWidth; ++k) key[k] = (floatBits(b[k]) & ~3u) | static_cast<uint32_t>(k);
            sortFour(key);
            const uint32_t child = bvhItem(level - 1, kBvhWidth * static_cast<int64_t>(index));
            for (int k = kBvhWidth - 1; k > 0; --k) {  // the farther ones wait
                const float far = bitsFloat(key[k] & ~3u);
                if (!open(far)) continue;
                items[top] = child + (key[k] & 3u);
                bounds[top++] = far;
            }
            if (open(bitsFloat(key[0] & ~3u))) {
                item = child + (key[0] & 3u);
                continue;
            }
        }
        do {
            if (top == 0) return;
            --top;
        } while (!open(bounds[top]));
        item = items[top];
    }
}

constexpr float kShrink = 1 - 1e-6f;  // more than the rounding of three subtractions, squares and sums

constexpr float kFar = 3e38f;

// Lower bounds for the squared distances of a point, between `down` and `up`, to four boxes.
OVOXEL_HD inline void boxDistances2(const float (*lo)[kBvhWidth], const float (*hi)[kBvhWidth], const float down[3],
                                    const float up[3], float d2[kBvhWidth]) {
#ifdef OVOXEL_BVH_SSE
    __m128 sum = _mm_setzero_ps();
    for (int axis = 0; axis < 3; ++axis) {
        const __m128 below = _mm_sub_ps(_mm_loadu_ps(lo[axis]), _mm_set1_ps(up[axis]));
        const __m128 above = _mm_sub_ps(_mm_set1_ps(down[axis]), _mm_loadu_ps(hi[axis]));
        const __m128 d = _mm_max_ps(_mm_max_ps(below, above), _mm_setzero_ps());
        sum = _mm_add_ps(sum, _mm_mul_ps(d, d));
    }
    _mm_storeu_ps(d2, _mm_mul_ps(sum, _mm_set1_ps(kShrink)));
#else
    for (int k = 0; k < kBvhWidth; ++k) d2[k] = 0;
    for (int axis = 0; axis < 3; ++axis)
        for (int k = 0; k < kBvhWidth; ++k) {
            const float d = larger(0.0f, larger(lo[axis][k] - up[axis], down[axis] - hi[axis][k]));
            d2[k] += d * d;
        }
    for (int k = 0; k < kBvhWidth; ++k) d2[k] *= kShrink;
#endif
}

// The boxes of the four triangles of a leaf.
OVOXEL_HD inline void triangleBoxes(const float* corners, float lo[3][kBvhWidth], float hi[3][kBvhWidth]) {
    for (int axis = 0; axis < 3; ++axis) {
        const float *a = corners + kBvhWidth * axis, *b = a + 3 * kBvhWidth, *c = b + 3 * kBvhWidth;
#ifdef OVOXEL_BVH_SSE
        const __m128 va = _mm_loadu_ps(a), vb = _mm_loadu_ps(b), vc = _mm_loadu_ps(c);
        _mm_storeu_ps(lo[axis], _mm_min_ps(_mm_min_ps(va, vb), vc));
        _mm_storeu_ps(hi[axis], _mm_max_ps(_mm_max_ps(va, vb), vc));
#else
        for (int k = 0; k < kBvhWidth; ++k) {
            lo[axis][k] = smaller(smaller(a[k], b[k]), c[k]);
            hi[axis][k] = larger(larger(a[k], b[k]), c[k]);
        }
#endif
    }
}

#ifdef OVOXEL_BVH_SSE
// Where many boxes lie in one another, as in a soup or around an edge of many faces, four triangles at a time are ruled
// out in float before the exact test looks at them one by one. Differences of coordinates are known to some 2^-24 of
// their sizes here; only what misses by more than the error that follows from it is ruled out. A GPU goes to the exact
// test at once.
constexpr float kUnit = 1.0f / (1 << 24);
constexpr float kTooSmall = 1e-30f, kTooLarge = 1e30f;  // nothing is ruled out where products leave the range of floats

OVOXEL_HD inline __m128 minus(const float* a, const float* b) { return _mm_sub_ps(_mm_loadu_ps(a), _mm_loadu_ps(b)); }
OVOXEL_HD inline __m128 minus(const float* a, double b) {
    return _mm_sub_ps(_mm_loadu_ps(a), _mm_set1_ps(static_cast<float>(b)));
}
OVOXEL_HD inline __m128 narrow(__m128d a, __m128d b) { return _mm_movelh_ps(_mm_cvtpd_ps(a), _mm_cvtpd_ps(b)); }
OVOXEL_HD inline __m128 minus(const double* a, const double* b) {
    return narrow(_mm_sub_pd(_mm_loadu_pd(a), _mm_loadu_pd(b)), _mm_sub_pd(_mm_loadu_pd(a + 2), _mm_loadu_pd(b + 2)));
}
OVOXEL_HD inline __m128 minus(const double* a, double b) {
    return narrow(_mm_sub_pd(_mm_loadu_pd(a), _mm_set1_pd(b)), _mm_sub_pd(_mm_loadu_pd(a + 2), _mm_set1_pd(b)));
}

OVOXEL_HD inline __m128 magnitude(__m128 v) { return _mm_andnot_ps(_mm_set1_ps(-0.0f), v); }
OVOXEL_HD inline __m128 sizeOf(const __m128 v[3]) {
    return _mm_add_ps(_mm_add_ps(magnitude(v[0]), magnitude(v[1])), magnitude(v[2]));
}
OVOXEL_HD inline __m128 sizeOf(const Vec3& v) {
    return _mm_set1_ps(static_cast<float>(fabs(v.x) + fabs(v.y) + fabs(v.z)));
}
OVOXEL_HD inline __m128 inRange(__m128 slack) {
    return _mm_and_ps(_mm_cmpgt_ps(slack, _mm_set1_ps(kTooSmall)), _mm_cmplt_ps(slack, _mm_set1_ps(kTooLarge)));
}

// Raises lower bounds for the squared distances of a point to the four triangles of a leaf to those of their planes.
// Returns whether any is within reach.
//
// The normal of a plane is off by at most 7 units of the product of two sides' sizes; times the vector to the point, by
// 12 units of the product of all three sizes.
template <class Real>
OVOXEL_HD inline bool raiseToPlanes(const Real* corners, const Vec3& point, float reach, float d2[kBvhWidth]) {
    __m128 ab[3], ac[3], pa[3];
    for (int axis = 0; axis < 3; ++axis) {
        const Real *a = corners + kBvhWidth * axis, *b = a + 3 * kBvhWidth, *c = b + 3 * kBvhWidth;
        ab[axis] = minus(b, a);
        ac[axis] = minus(c, a);
        pa[axis] = minus(a, point[axis]);
    }
    __m128 product = _mm_setzero_ps(), normal2 = _mm_set1_ps(1e-36f);  // more than gets lost below the range of floats
    for (int axis = 0; axis < 3; ++axis) {
        const int u = (axis + 1) % 3, w = (axis + 2) % 3;
        const __m128 n = _mm_sub_ps(_mm_mul_ps(ab[u], ac[w]), _mm_mul_ps(ab[w], ac[u]));
        product = _mm_add_ps(product, _mm_mul_ps(n, pa[axis]));
        normal2 = _mm_add_ps(normal2, _mm_mul_ps(n, n));
    }
    const __m128 sides = _mm_mul_ps(sizeOf(ab), sizeOf(ac));
    const __m128 slack = _mm_mul_ps(_mm_mul_ps(_mm_set1_ps(16 * kUnit), sides), _mm_add_ps(sizeOf(pa), sizeOf(point)));
    const __m128 least = _mm_max_ps(_mm_sub_ps(magnitude(product), slack), _mm_setzero_ps());
    const __m128 most2 = _mm_add_ps(normal2, _mm_mul_ps(_mm_set1_ps(32 * kUnit), _mm_mul_ps(sides, sides)));
    __m128 bound = _mm_mul_ps(_mm_mul_ps(_mm_div_ps(least, most2), least), _mm_set1_ps(kShrink));
    bound = _mm_and_ps(bound, _mm_and_ps(inRange(slack), _mm_cmplt_ps(bound, _mm_set1_ps(kFar))));
    bound = _mm_max_ps(bound, _mm_loadu_ps(d2));
    _mm_storeu_ps(d2, bound);
    return _mm_movemask_ps(_mm_cmple_ps(bound, _mm_set1_ps(reach))) != 0;
}
#endif

struct Nearest {
    double distance2;
    double v, w;     // weights of the 2nd and 3rd corner
    int32_t face;    // -1: none
    int64_t leaf;    // where it is: a hint for a point near by
};

// The closest point of the surface within `limit2` (squared, inclusive); among equal distances the lowest face id.
// `hint` (a leaf or -1) only saves work. With `normal`, faces with unit normal . (*normal) < minCos do not count.
OVOXEL_HD inline Nearest bvhNearest(const BvhView& bvh, const Vec3& p, const Vec3* normal, double minCos, double limit2,
                                    int64_t hint) {
    Nearest best{limit2, 0, 0, -1, -1};
    float reach = roundUp(limit2);
    const float up[3] = {roundUp(p.x), roundUp(p.y), roundUp(p.z)};
    const float down[3] = {roundDown(p.x), roundDown(p.y), roundDown(p.z)};
    auto leaf = [&](int64_t index) {
        const int32_t* ids = bvh.ids + kBvhWidth * index;
        const int64_t first = 9 * kBvhWidth * index;
        float bound[kBvhWidth] = {0, 0, 0, 0};
        if (bvh.corners) {
            float lo[3][kBvhWidth], hi[3][kBvhWidth];
            triangleBoxes(bvh.corners + first, lo, hi);
            boxDistances2(lo, hi, down, up, bound);
        }
#ifdef OVOXEL_BVH_SSE
        if (!(bvh.corners ? raiseToPlanes(bvh.corners + first, p, reach, bound)
                          : raiseToPlanes(bvh.wideCorners + first, p, reach, bound)))
            return;
#endif
        for (int k = 0; k < kBvhWidth; ++k) {
            const int32_t face = ids[k];
            if (face < 0 || bound[k] > reach) continue;
            const Vec3 a = bvhCorner(bvh, index, k, 0), b = bvhCorner(bvh, index, k, 1), c = bvhCorner(bvh, index, k, 2);
            double v, w;
            const double d2 = triangleDistance2(p, a, b, c, v, w);
            if (!(d2 < best.distance2 || (d2 == best.distance2 && (best.face < 0 || face < best.face)))) continue;
            if (normal) {
                const Vec3 n = cross(b - a, c - a);
                const double length = norm(n);
                const Vec3 unit = length > 0 ? n * (1 / length) : Vec3{};
                if (dot(unit, *normal) < minCos) continue;
            }
            best = {d2, v, w, face, index};
            reach = roundUp(d2);
        }
    };
    if (hint >= 0 && bvh.layout.faces > 0) leaf(hint);
    walkBvh(
        bvh,
        [&](const BvhNode& node, float bound[kBvhWidth]) {
            boxDistances2(node.lo, node.hi, down, up, bound);
            for (int k = 0; k < kBvhWidth; ++k)
                bound[k] = node.lo[0][k] > node.hi[0][k] ? HUGE_VALF : smaller(bound[k], kFar);
        },
        [&](float bound) { return bound <= reach && bound < HUGE_VALF; }, leaf);
    return best;
}

// A ray prepared for one mesh. Box tests run in float with the ray's parameter times `scale`.
struct BvhRay {
    Vec3 origin, direction;
    int kx, ky, kz;  // kz: the axis of the largest component
    double sx, sy, sz, scale;
    float up[3], down[3], inverse[3];

    OVOXEL_HD BvhRay(const Vec3& o, const Vec3& d) : origin(o), direction(d) {
        const double ax = fabs(d.x), ay = fabs(d.y), az = fabs(d.z);
        kz = ax >= ay && ax >= az ? 0 : (ay >= az ? 1 : 2);
        kx = (kz + 1) % 3, ky = (kz + 2) % 3;
        scale = fabs(d[kz]);
        sz = 1 / d[kz], sx = d[kx] * sz, sy = d[ky] * sz;
        for (int k = 0; k < 3; ++k) {
            up[k] = roundUp(o[k]), down[k] = roundDown(o[k]);
            inverse[k] = static_cast<float>(scale / (d[k] == 0 ? 0.0 : d[k]));  // no negative infinity for -0
        }
    }
};

// Woop, Benthin & Wald, Watertight Ray/Triangle Intersection, 2013, in double precision; edges belong to both faces.
OVOXEL_HD inline bool intersectTriangle(const BvhRay& ray, const Vec3& a, const Vec3& b, const Vec3& c, double& t) {
    const Vec3 p[3] = {a - ray.origin, b - ray.origin, c - ray.origin};
    double x[3], y[3], z[3];
    for (int k = 0; k < 3; ++k) {
        const double deep = p[k][ray.kz];
        x[k] = p[k][ray.kx] - ray.sx * deep;
        y[k] = p[k][ray.ky] - ray.sy * deep;
        z[k] = ray.sz * deep;
    }
    const double u = x[2] * y[1] - y[2] * x[1], v = x[0] * y[2] - y[0] * x[2], w = x[1] * y[0] - y[1] * x[0];
    if ((u < 0 || v < 0 || w < 0) && (u > 0 || v > 0 || w > 0)) return false;
    const double det = u + v + w;
    if (det == 0) return false;
    t = (u * z[0] + v * z[1] + w * z[2]) / det;
    return true;
}

#ifdef OVOXEL_BVH_SSE
// Bits of those triangles of a leaf that the line of a ray may meet. In the plane across the ray corners are off by at
// most 5 units of `far`, and the areas u, v, w of `intersectTriangle` by less than `slack`.
template <class Real>
OVOXEL_HD inline int mayMeet(const Real* corners, const BvhRay& ray) {
    const int axes[3] = {ray.kx, ray.ky, ray.kz};
    const __m128 sx = _mm_set1_ps(static_cast<float>(ray.sx)), sy = _mm_set1_ps(static_cast<float>(ray.sy));
    __m128 x[3], y[3], far = _mm_setzero_ps(), across = _mm_setzero_ps();
    for (int corner = 0; corner < 3; ++corner) {
        __m128 p[3];
        for (int k = 0; k < 3; ++k)
            p[k] = minus(corners + kBvhWidth * (3 * corner + axes[k]), ray.origin[axes[k]]);
        far = _mm_max_ps(sizeOf(p), far);
        x[corner] = _mm_sub_ps(p[0], _mm_mul_ps(sx, p[2]));
        y[corner] = _mm_sub_ps(p[1], _mm_mul_ps(sy, p[2]));
        across = _mm_add_ps(across, _mm_add_ps(magnitude(x[corner]), magnitude(y[corner])));
    }
    far = _mm_add_ps(far, sizeOf(ray.origin));
    across = _mm_add_ps(across, _mm_mul_ps(_mm_set1_ps(32 * kUnit), far));
    const __m128 slack = _mm_mul_ps(_mm_mul_ps(_mm_set1_ps(8 * kUnit), across), _mm_add_ps(across, far));
    auto area = [&](int i, int j) { return _mm_sub_ps(_mm_mul_ps(x[i], y[j]), _mm_mul_ps(y[i], x[j])); };
    const __m128 u = area(2, 1), v = area(0, 2), w = area(1, 0);
    const __m128 least = _mm_min_ps(u, _mm_min_ps(v, w)), most = _mm_max_ps(u, _mm_max_ps(v, w));
    const __m128 below = _mm_cmplt_ps(least, _mm_sub_ps(_mm_setzero_ps(), slack)), above = _mm_cmpgt_ps(most, slack);
    return _mm_movemask_ps(_mm_and_ps(_mm_and_ps(below, above), inRange(slack))) ^ 15;
}
#endif

// Lower bounds, above `begin`, for the scaled parameters at which a ray enters four boxes; infinite for boxes that it
// misses between `begin` and `end`.
OVOXEL_HD inline void enterBoxes(const BvhNode& node, const BvhRay& ray, float begin, float end, float bound[kBvhWidth]) {
    constexpr float kLess = 1 - 1e-6f, kMore = 1 + 1e-6f;  // parameters have a relative error of a few 2^-24
#ifdef OVOXEL_BVH_SSE
    __m128 t0 = _mm_set1_ps(begin), t1 = _mm_set1_ps(end);
    const __m128 less = _mm_set1_ps(kLess), more = _mm_set1_ps(kMore);
    for (int axis = 0; axis < 3; ++axis) {
        const bool backward = ray.inverse[axis] < 0;
        const __m128 inverse = _mm_set1_ps(ray.inverse[axis]);
        const __m128 low = _mm_mul_ps(_mm_sub_ps(_mm_load_ps(node.lo[axis]), _mm_set1_ps(ray.up[axis])), inverse);
        const __m128 high = _mm_mul_ps(_mm_sub_ps(_mm_load_ps(node.hi[axis]), _mm_set1_ps(ray.down[axis])), inverse);
        const __m128 near = backward ? high : low, far = backward ? low : high;
        t0 = _mm_max_ps(_mm_min_ps(_mm_mul_ps(near, less), _mm_mul_ps(near, more)), t0);  // the latter if not a number
        t1 = _mm_min_ps(_mm_max_ps(_mm_mul_ps(far, less), _mm_mul_ps(far, more)), t1);
    }
    const __m128 hit = _mm_and_ps(_mm_cmple_ps(t0, t1), _mm_cmple_ps(_mm_load_ps(node.lo[0]), _mm_load_ps(node.hi[0])));
    const __m128 after = _mm_max_ps(_mm_sub_ps(t0, _mm_set1_ps(begin)), _mm_setzero_ps());
    _mm_storeu_ps(bound, _mm_or_ps(_mm_and_ps(hit, after), _mm_andnot_ps(hit, _mm_set1_ps(HUGE_VALF))));
#else
    float t0[kBvhWidth], t1[kBvhWidth];
    for (int k = 0; k < kBvhWidth; ++k) t0[k] = begin, t1[k] = end;
    for (int axis = 0; axis < 3; ++axis) {
        const bool backward = ray.inverse[axis] < 0;
        for (int k = 0; k < kBvhWidth; ++k) {
            const float low = (node.lo[axis][k] - ray.up[axis]) * ray.inverse[axis];
            const float high = (node.hi[axis][k] - ray.down[axis]) * ray.inverse[axis];
            const float near = backward ? high : low, far = backward ? low : high;
            t0[k] = larger(t0[k], smaller(near * kLess, near * kMore));
            t1[k] = smaller(t1[k], larger(far * kLess, far * kMore));
        }
    }
    for (int k = 0; k < kBvhWidth; ++k) {
        const bool hit = t0[k] <= t1[k] && node.lo[0][k] <= node.hi[0][k];
        bound[k] = hit ? larger(0.0f, t0[k] - begin) : HUGE_VALF;
    }
#endif
}

// Calls visit(face, t) for hits with tMin <= t <= tMax, nearer boxes first; it returns the largest t that still matters
// (no more than before), or a number below tMin to stop.
template <class Visit>
OVOXEL_HD inline void walkRay(const BvhView& bvh, const BvhRay& ray, double tMin, double tMax, Visit&& visit) {
    const double start = tMin * ray.scale;
    const float begin = roundDown(start - 2e-6 * fabs(start));
    double limit = tMax;
    auto scaledEnd = [&] {
        const double scaled = limit * ray.scale;
        return limit >= tMin ? roundUp(scaled + 2e-6 * fabs(scaled)) : -HUGE_VALF;
    };
    float end = scaledEnd();
    walkBvh(
        bvh, [&](const BvhNode& node, float bound[kBvhWidth]) { enterBoxes(node, ray, begin, end, bound); },
        [&](float bound) { return bound < HUGE_VALF && begin + bound * (1 - 1e-6f) <= end; },
        [&](int64_t index) {
            int open = (1 << kBvhWidth) - 1;
#ifdef OVOXEL_BVH_SSE
            const int64_t first = 9 * kBvhWidth * index;
            open = bvh.corners ? mayMeet(bvh.corners + first, ray) : mayMeet(bvh.wideCorners + first, ray);
#endif
            for (int k = 0; k < kBvhWidth; ++k) {
                const int32_t face = bvh.ids[kBvhWidth * index + k];
                double t;
                if (face < 0 || !(open >> k & 1) || !(limit >= tMin) ||
                    !intersectTriangle(ray, bvhCorner(bvh, index, k, 0), bvhCorner(bvh, index, k, 1),
                                       bvhCorner(bvh, index, k, 2), t) ||
                    !(t >= tMin) || t > limit)
                    continue;
                limit = visit(face, t);
                end = scaledEnd();
            }
        });
}

struct RayHit {
    double t;      // along the direction as given; infinite for a miss
    int32_t face;  // -1: miss
};

OVOXEL_HD inline RayHit bvhTrace(const BvhView& bvh, const BvhRay& ray, double tMin, double tMax) {
    RayHit best{HUGE_VAL, -1};
    walkRay(bvh, ray, tMin, tMax, [&](int32_t face, double t) {
        if (t < best.t || (t == best.t && (best.face < 0 || face < best.face))) best = {t, face};
        return best.t;
    });
    return best;
}

OVOXEL_HD inline int64_t bvhCountHits(const BvhView& bvh, const BvhRay& ray, double tMin, double tMax,
                                      int64_t maxHits) {
    int64_t hits = 0;
    if (maxHits > 0)
        walkRay(bvh, ray, tMin, tMax, [&](int32_t, double) { return ++hits < maxHits ? tMax : -HUGE_VAL; });
    return hits;
}

}  // namespace ovoxel::mesh
