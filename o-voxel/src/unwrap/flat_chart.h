// One chart as a small mesh with its own vertices, and its flat positions.
#pragma once

#include <cstdint>
#include <vector>

#include "unwrap/face_graph.h"

namespace ovoxel::unwrap {

struct Vec2 {
    double x = 0, y = 0;
};

inline Vec2 operator+(const Vec2& a, const Vec2& b) { return {a.x + b.x, a.y + b.y}; }
inline Vec2 operator-(const Vec2& a, const Vec2& b) { return {a.x - b.x, a.y - b.y}; }
inline Vec2 operator*(const Vec2& a, double s) { return {a.x * s, a.y * s}; }
inline double dot(const Vec2& a, const Vec2& b) { return a.x * b.x + a.y * b.y; }
inline double cross(const Vec2& a, const Vec2& b) { return a.x * b.y - a.y * b.x; }

// Vertices are fans of corners: two faces share a vertex only where a chain of common edges inside the chart leads from
// one to the other, so every chart is a surface without branches.
struct FlatChart {
    std::vector<int32_t> faces;    // [n] faces of the mesh; patches over holes come after them in the other arrays
    std::vector<int32_t> twin;     // [3n] half-edges inside the chart, -1 on its border
    std::vector<int32_t> corner;   // [3n] vertex of each corner
    std::vector<Vec3> position;    // [m]
    std::vector<Vec2> shape;       // [3n] each face laid flat by itself, counter-clockwise, slivers thickened
    std::vector<double> area;      // [n] in space
    std::vector<Vec2> uv;          // [m] flat positions, in units of length

    int64_t numFaces() const { return static_cast<int64_t>(corner.size() / 3); }
    int64_t numReal() const { return static_cast<int64_t>(faces.size()); }
    int64_t numVertices() const { return static_cast<int64_t>(position.size()); }
    double signedArea(int64_t f) const {
        const Vec2 &a = uv[corner[3 * f]], &b = uv[corner[3 * f + 1]], &c = uv[corner[3 * f + 2]];
        return cross(b - a, c - a) / 2;
    }
};

// `local` [F] is scratch that several threads share: it is written at the chart's own faces only; `member(f)` says
// whether a face belongs to the chart.
FlatChart makeChart(const FaceGraph& graph, const std::vector<Vec3>& vertices, const std::vector<int32_t>& meshFaces,
                    std::vector<int32_t>&& faces, const std::vector<int32_t>& owner, int32_t id,
                    std::vector<int32_t>& local);

// Makes the vertices from the twins: one for each fan of corners, at the place `at` [3n] of any of them.
void weldCorners(FlatChart& chart, const std::vector<Vec3>& at);

// Number of handles: 0 for what can be laid flat.
int64_t genus(const FlatChart& chart);

// Opens handles along short loops of edges until none is left or `rounds` are over; the chart stays in one piece.
// J. Erickson, K. Whittlesey, Greedy Optimal Homotopy and Homology Generators, 2005.
void cutHandles(FlatChart& chart, int rounds);

// Projects along the mean normal. Returns the smallest cosine between it and a face normal.
double project(FlatChart& chart, const FaceGraph& graph);

// As-rigid-as-possible map from the present one: rounds of best rotations per face and a Laplacian solve by conjugate
// gradients. L. Liu et al., A Local/Global Approach to Mesh Parameterization, 2008. Work is bounded by `rounds`.
void relax(FlatChart& chart, int rounds);

// Closes small holes by fans of faces around a new vertex, so that their borders keep their shape; all but the longest
// border (with `keepOuter`) count as holes if they have at most `maxEdges` edges. `dropPatches` takes them away again.
void patchHoles(FlatChart& chart, int64_t maxEdges, bool keepOuter);
void dropPatches(FlatChart& chart);

// Pushes vertices of mirrored faces to where their faces turn over. Returns how many mirrored faces are left.
int64_t untangle(FlatChart& chart, int sweeps);

// Faces whose map is mirrored or nearly collapsed, although they have area in space.
bool mirrored(const FlatChart& chart, int64_t f);

// Half-edges of the border that cross another one. With none, one outer loop and no mirrored face, the map is one to
// one.
std::vector<int32_t> borderCrossings(const FlatChart& chart);

// The border as closed loops of half-edges; whether exactly one of them runs counter-clockwise in the plane.
std::vector<std::vector<int32_t>> borderLoops(const FlatChart& chart);
bool oneOuterLoop(const FlatChart& chart);

// Draws vertices of a border that crosses itself inwards. Returns whether no crossing is left.
bool smoothBorder(FlatChart& chart, int sweeps);

// sqrt of the area-weighted mean of (s1^2 + s2^2) / 2, s the singular values of the map from the plane (scaled to the
// chart's area) to space: 1 for an isometry. P. Sander et al., Texture Mapping Progressive Meshes, 2001.
double stretch(const FlatChart& chart);

// Parts to try again when a chart cannot be laid flat: where it covers itself, the rest; else two halves.
std::vector<std::vector<int32_t>> peelMirrored(const FlatChart& chart);
std::vector<std::vector<int32_t>> peelCrossing(const FlatChart& chart);
std::vector<std::vector<int32_t>> cutOverlap(const FlatChart& chart);
std::vector<std::vector<int32_t>> cutInHalf(const FlatChart& chart);

}  // namespace ovoxel::unwrap
