// Steps of the parallel edge collapse, one index each, for threads and for CUDA. See collapse.h for the procedure.
//
// n vertices; the row of a vertex v holds one entry (p, q) for each face (v, p, q) around it, so a face is in three rows.
#pragma once

#include <cstdint>

#include "common/atomics.h"
#include "common/host_device.h"
#include "mesh/quadric.h"

namespace ovoxel::mesh {

struct Link {
    int32_t p, q;
};

// Longer rows are left alone: steps that look at all pairs in two rows stay short.
constexpr int64_t kLongestRow = 64;
// Edges with more faces are not collapsed.
constexpr int kMostFaces = 4;
constexpr float kNoCost = 3.0e38f;
constexpr float kStale = -1.0f;
constexpr uint64_t kNoKey = ~uint64_t{0};

struct CollapseMesh {
    float* positions;          // [n, 3]
    Quadric<float>* quadrics;  // [n]
    uint8_t* held;             // [n] has an edge with one face or more than two
    int32_t* source;           // [n] the input vertex that each one grew from
    int64_t* offsets;          // [n + 1] rows
    Link* links;

    OVOXEL_HD Vec3 at(int64_t v) const { return {positions[3 * v], positions[3 * v + 1], positions[3 * v + 2]}; }
    OVOXEL_HD int64_t length(int64_t v) const { return offsets[v + 1] - offsets[v]; }

    // Faces that hold both a and b, read from the shorter row; counted up to kMostFaces + 1.
    OVOXEL_HD int facesAt(int64_t a, int64_t b) const {
        if (length(b) < length(a)) {
            const int64_t t = a;
            a = b, b = t;
        }
        int count = 0;
        for (int64_t i = offsets[a]; i < offsets[a + 1] && count <= kMostFaces; ++i) count += links[i].p == b || links[i].q == b;
        return count;
    }
    OVOXEL_HD JoinedQuadric join(int64_t a, int64_t b) const { return {quadrics[a], at(a), quadrics[b], at(b)}; }
};

// Quadrics of the input surface: planes of the faces around weighted by area, a weak pull to where the vertex is, and
// planes through open and non-manifold edges, at right angles to the face.
struct InitialQuadricBody {
    CollapseMesh mesh;
    double boundaryWeight, regularization;

    OVOXEL_HD void operator()(int64_t v) const {
        const Vec3 at = mesh.at(v);
        Symmetric3 a;
        bool held = false;
        for (int64_t i = mesh.offsets[v]; i < mesh.offsets[v + 1]; ++i) {
            const Link link = mesh.links[i];
            const Vec3 p = mesh.at(link.p) - at, q = mesh.at(link.q) - at;
            const Vec3 normal = cross(p, q);
            const double length = norm(normal);
            if (length > 0) {
                a.addPlane(normal * (1 / length), length / 6);
                a.addPoint(regularization * length / 6);
            }
            held |= hold(v, link.p, p, normal, a);
            held |= hold(v, link.q, q, normal, a);
        }
        mesh.held[v] = held;
        Quadric<float> quadric{};
        quadric.a[0] = static_cast<float>(a.xx), quadric.a[1] = static_cast<float>(a.xy);
        quadric.a[2] = static_cast<float>(a.xz), quadric.a[3] = static_cast<float>(a.yy);
        quadric.a[4] = static_cast<float>(a.yz), quadric.a[5] = static_cast<float>(a.zz);
        mesh.quadrics[v] = quadric;
    }

private:
    OVOXEL_HD bool hold(int64_t v, int64_t w, const Vec3& edge, const Vec3& normal, Symmetric3& a) const {
        if (mesh.facesAt(v, w) == 2) return false;
        const Vec3 side = cross(edge, normal);
        const double length = norm(side);
        if (length > 0) a.addPlane(side * (1 / length), boundaryWeight * norm2(edge));
        return true;
    }
};

// Calls body(w) for the neighbours w > v: all of them, most of them once.
template <class Body>
OVOXEL_HD void forHigherNeighbours(const CollapseMesh& mesh, int64_t v, Body&& body) {
    const int64_t begin = mesh.offsets[v], end = mesh.offsets[v + 1];
    for (int64_t i = begin; i < end; ++i) {
        const Link link = mesh.links[i];
        if (link.p > v) body(link.p);
        if (link.q <= v) continue;
        bool first = false;  // of the face on the other side of the edge, if it is wound alike
        for (int64_t j = i + 1; j < end && !first; ++j) first = mesh.links[j].p == link.q;
        for (int64_t j = begin; j < i && !first; ++j) first = mesh.links[j].p == link.q;
        if (!first) body(link.q);
    }
}

// The cheapest edge from v to a vertex of a higher number, after (afterCost, afterEnd) in order of (cost, end).
struct CheapestEdge {
    const CollapseMesh& mesh;
    int64_t v;
    float cost = kNoCost;
    int32_t end = -1;

    OVOXEL_HD void search(float afterCost, int32_t afterEnd) {
        cost = kNoCost, end = -1;
        forHigherNeighbours(mesh, v, [&](int32_t w) {
            double exact;
            mesh.join(v, w).place(mesh.held[v], mesh.held[w], exact);
            const float c = static_cast<float>(exact);
            if (c < afterCost || (c == afterCost && w <= afterEnd)) return;
            if (c < cost || (c == cost && w < end)) cost = c, end = w;
        });
    }
};

// Cheapest edges of the vertices whose neighbourhood has changed: those with cost kStale.
struct CostBody {
    CollapseMesh mesh;
    float* cost;   // [n]
    int32_t* end;  // [n]

    OVOXEL_HD void operator()(int64_t v) const {
        if (cost[v] >= 0) return;
        CheapestEdge edge{mesh, v};
        if (mesh.length(v) <= kLongestRow) edge.search(-1.0f, -1);
        cost[v] = edge.cost;
        end[v] = edge.end;
    }
};

struct StaleBody {
    float* cost;
    OVOXEL_HD void operator()(int64_t v) const { cost[v] = kStale; }
};

struct CheapBody {
    const float* cost;
    uint8_t* flags;  // [n]
    float limit;
    OVOXEL_HD void operator()(int64_t v) const { flags[v] = cost[v] <= limit; }
};

struct SampleBody {
    const float* cost;
    float* sample;  // [count]
    int64_t n, count;
    OVOXEL_HD void operator()(int64_t i) const { sample[i] = cost[i * n / count]; }
};

// Which of the cheap vertices propose an edge: the cheapest one that passes the tests, if it costs at most `limit`.
struct ProposeBody {
    CollapseMesh mesh;
    const int64_t* vertices;  // those whose cheapest edge costs at most `limit`
    const float* cost;
    const int32_t* end;
    int32_t* partner;  // [n] the other end of the proposed edge; -1 before
    uint64_t* key;     // [n] order of the proposals, all different: cost in steps of 1/16, then at random; or kNoKey
    float limit;
    FaceLimits limits;

    static constexpr int kTries = 3;

    OVOXEL_HD void operator()(int64_t i) const {
        const int64_t v = vertices[i];
        key[v] = kNoKey;
        CheapestEdge edge{mesh, v, cost[v], end[v]};
        for (int tries = 1; edge.end >= 0 && edge.cost <= limit; ++tries) {
            if (allowed(v, edge.end)) {
                partner[v] = edge.end;
                union {
                    float value;
                    uint32_t bits;
                } c{edge.cost};
                key[v] = static_cast<uint64_t>(c.bits >> 19) << 32 | mix(static_cast<uint32_t>(v));
                return;
            }
            if (tries == kTries) return;
            edge.search(edge.cost, edge.end);
        }
    }

private:
    OVOXEL_HD static uint32_t mix(uint32_t h) {  // finaliser of MurmurHash3, a bijection
        h ^= h >> 16;
        h *= 0x85ebca6bu;
        h ^= h >> 13;
        h *= 0xc2b2ae35u;
        return h ^ h >> 16;
    }

    OVOXEL_HD bool allowed(int64_t a, int64_t b) const {
        const int64_t total = mesh.length(a) + mesh.length(b);
        if (mesh.length(b) > kLongestRow || total > kLongestRow) return false;
        return linkHolds(a, b) && facesHold(a, b);
    }

    struct Tips {
        int32_t vertex[kMostFaces];
        int count = 0;
        OVOXEL_HD bool has(int32_t v) const {
            for (int k = 0; k < count; ++k)
                if (vertex[k] == v) return true;
            return false;
        }
    };

    // a and b share no neighbour besides the tips of their common faces, and do not both have a face with two of the
    // tips, which would fall onto each other: then the collapse keeps the topology (T. K. Dey et al., Topology
    // Preserving Edge Contraction, 1999). Where both ends lie on singular edges (of one face or more than two), the
    // edge must be one of them, and these edges must not meet in another corner of the triangle or end at both ends.
    OVOXEL_HD bool linkHolds(int64_t a, int64_t b) const {
        Tips tips;
        for (int64_t i = mesh.offsets[a]; i < mesh.offsets[a + 1]; ++i) {
            const Link link = mesh.links[i];
            if (link.p != b && link.q != b) continue;
            const int32_t tip = link.p == b ? link.q : link.p;
            if (tips.count == kMostFaces || tips.has(tip)) return false;
            tips.vertex[tips.count++] = tip;
        }
        const int common = tips.count;
        if (common == 0 || (common == 2 && mesh.held[a] && mesh.held[b])) return false;
        if (mesh.length(a) == common && mesh.length(b) == common) return false;  // nothing but these faces
        for (int64_t i = mesh.offsets[a]; i < mesh.offsets[a + 1]; ++i) {
            const Link link = mesh.links[i];
            if (!apart(link.p, b, tips) || !apart(link.q, b, tips)) return false;
            if (tips.has(link.p) && tips.has(link.q) && hasFace(b, link)) return false;
        }
        return common == 2 || singularEdgesHold(a, b, tips);
    }

    OVOXEL_HD bool hasFace(int64_t v, const Link& other) const {
        for (int64_t i = mesh.offsets[v]; i < mesh.offsets[v + 1]; ++i) {
            const Link link = mesh.links[i];
            if ((link.p == other.p && link.q == other.q) || (link.p == other.q && link.q == other.p)) return true;
        }
        return false;
    }

    OVOXEL_HD bool apart(int32_t u, int64_t b, const Tips& tips) const {
        if (u == b || tips.has(u)) return true;
        for (int64_t i = mesh.offsets[b]; i < mesh.offsets[b + 1]; ++i)
            if (mesh.links[i].p == u || mesh.links[i].q == u) return false;
        return true;
    }

    OVOXEL_HD bool singularEdgesHold(int64_t a, int64_t b, const Tips& tips) const {
        for (int k = 0; k < tips.count; ++k) {
            const int atA = mesh.facesAt(a, tips.vertex[k]), atB = mesh.facesAt(b, tips.vertex[k]);
            if (atA == 2 || atB == 2) continue;
            // The only face of an end, beside an edge that keeps two others, may go.
            const bool ear = tips.count == 1 && ((mesh.length(a) == 1 && atB > 2) || (mesh.length(b) == 1 && atA > 2));
            if (!ear) return false;
        }
        return singularEdges(a) == 2 || singularEdges(b) == 2 || mesh.length(a) == 1 || mesh.length(b) == 1;
    }

    OVOXEL_HD int singularEdges(int64_t v) const {
        int ends = 0;  // an edge of k faces is met k times, so count k-fold and weigh by 1 / k: 60 / k is whole up to 6
        for (int64_t i = mesh.offsets[v]; i < mesh.offsets[v + 1]; ++i) {
            const int p = mesh.facesAt(v, mesh.links[i].p), q = mesh.facesAt(v, mesh.links[i].q);
            if (p > kMostFaces || q > kMostFaces) return -1;
            ends += (p != 2 ? 60 / p : 0) + (q != 2 ? 60 / q : 0);
        }
        return ends / 60;
    }

    OVOXEL_HD bool facesHold(int64_t a, int64_t b) const {
        const JoinedQuadric joined = mesh.join(a, b);
        double unused;
        const Vec3 to = joined.middle + joined.place(mesh.held[a], mesh.held[b], unused);
        return facesHold(a, b, to) && facesHold(b, a, to);
    }
    OVOXEL_HD bool facesHold(int64_t v, int64_t other, const Vec3& to) const {
        const Vec3 from = mesh.at(v);
        for (int64_t i = mesh.offsets[v]; i < mesh.offsets[v + 1]; ++i) {
            const Link link = mesh.links[i];
            if (link.p == other || link.q == other) continue;
            if (!limits.allow(from, to, mesh.at(link.p), mesh.at(link.q))) return false;
        }
        return true;
    }
};

// The lowest key of the open proposals at each vertex; `lowest` [n] starts as kNoKey.
struct LowestBody {
    const int64_t* vertices;
    const int32_t* partner;
    const uint64_t* key;
    const uint8_t* blocked;
    uint64_t* lowest;

    OVOXEL_HD void operator()(int64_t i) const {
        const int64_t a = vertices[i], b = partner[a];
        if (b < 0 || blocked[a] || blocked[b]) return;
        atomicMinimum(lowest + a, key[a]);
        atomicMinimum(lowest + b, key[a]);
    }
};

// Accepts the proposals that are the lowest at both ends and all vertices around them, and blocks all those vertices:
// accepted edges are neither adjacent nor joined by an edge, so none sees what another one changes.
struct AcceptBody {
    CollapseMesh mesh;
    const int64_t* vertices;
    const int32_t* partner;
    const uint64_t* key;
    const uint64_t* lowest;
    uint8_t* blocked;
    int32_t* removes;  // for each of `vertices` the faces that go with its edge, 0 if not accepted

    OVOXEL_HD void operator()(int64_t i) const {
        const int64_t a = vertices[i], b = partner[a];
        const uint64_t own = key[a];
        if (b < 0 || removes[i] || lowest[a] != own || lowest[b] != own) return;
        if (!lowestAround(a, own) || !lowestAround(b, own)) return;
        removes[i] = mesh.facesAt(a, b);
        block(a);
        block(b);
    }

private:
    OVOXEL_HD bool lowestAround(int64_t v, uint64_t own) const {
        for (int64_t j = mesh.offsets[v]; j < mesh.offsets[v + 1]; ++j)
            if (lowest[mesh.links[j].p] < own || lowest[mesh.links[j].q] < own) return false;
        return true;
    }
    OVOXEL_HD void block(int64_t v) const {
        for (int64_t j = mesh.offsets[v]; j < mesh.offsets[v + 1]; ++j)
            blocked[mesh.links[j].p] = blocked[mesh.links[j].q] = 1;
    }
};

struct IdentityBody {
    int32_t* to;
    OVOXEL_HD void operator()(int64_t v) const { to[v] = static_cast<int32_t>(v); }
};

// into[a] = into[b] = ~a for the accepted edges (a, b); partner stays b there and becomes -1 elsewhere.
struct JoinBody {
    const int64_t* vertices;
    const int32_t* removes;
    int32_t* into;
    int32_t* partner;

    OVOXEL_HD void operator()(int64_t i) const {
        const int64_t a = vertices[i], b = partner[a];
        if (removes[i])
            into[a] = into[b] = ~static_cast<int32_t>(a);
        else
            partner[a] = -1;
    }
};

// What becomes of the rows.
struct NewRow {
    CollapseMesh mesh;
    const int32_t* into;     // [n] v itself, or ~a for the two ends of the collapsed edge that a stands for
    const int32_t* partner;  // [n] b for a, else -1

    OVOXEL_HD static int32_t vertex(int32_t entry) { return entry < 0 ? ~entry : entry; }
    OVOXEL_HD bool stays(int64_t v) const { return vertex(into[v]) == v; }

    // Calls body(p, q) for the entries of the new row of v, and says whether v or a neighbour was joined.
    template <class Body>
    OVOXEL_HD bool forEach(int64_t v, Body&& body) const {
        bool changed = add(v, v, body);
        if (partner[v] >= 0) changed |= add(partner[v], v, body);
        return changed;
    }

private:
    template <class Body>
    OVOXEL_HD bool add(int64_t row, int64_t v, Body&& body) const {
        bool changed = false;
        for (int64_t i = mesh.offsets[row]; i < mesh.offsets[row + 1]; ++i) {
            const int32_t toP = into[mesh.links[i].p], toQ = into[mesh.links[i].q];
            const int32_t p = vertex(toP), q = vertex(toQ);
            changed |= toP < 0 || toQ < 0;
            if (p != q && p != v && q != v) body(p, q);
        }
        return changed;
    }
};

struct MeasureBody {
    NewRow rows;
    int32_t* length;  // [n] of the new row, 0 for vertices that go
    uint8_t* alive;   // [n]

    OVOXEL_HD void operator()(int64_t v) const {
        int32_t count = 0;
        if (rows.stays(v)) rows.forEach(v, [&](int32_t, int32_t) { ++count; });
        length[v] = count;
        alive[v] = count > 0;
    }
};

// Writes the mesh after the collapses, without gaps. The costs of vertices far from them stay.
struct RebuildBody {
    NewRow rows;
    const uint8_t* alive;
    const int64_t* rank;   // [n + 1] new number of a vertex that stays
    const int64_t* begin;  // [n + 1] where its row begins
    CollapseMesh to;
    const float* cost;
    const int32_t* end;
    float* costTo;
    int32_t* endTo;

    OVOXEL_HD void operator()(int64_t v) const {
        if (!alive[v]) return;
        const CollapseMesh& from = rows.mesh;
        const int64_t at = rank[v], b = rows.partner[v];
        Link* out = to.links + begin[v];
        const bool changed = rows.forEach(v, [&](int32_t p, int32_t q) {
            *out++ = {static_cast<int32_t>(rank[p]), static_cast<int32_t>(rank[q])};
        });
        costTo[at] = changed ? kStale : cost[v];
        endTo[at] = changed || end[v] < 0 ? -1 : static_cast<int32_t>(rank[end[v]]);
        to.offsets[at] = begin[v];
        to.source[at] = from.source[v];
        if (b < 0) {
            for (int k = 0; k < 3; ++k) to.positions[3 * at + k] = from.positions[3 * v + k];
            to.quadrics[at] = from.quadrics[v];
            to.held[at] = from.held[v];
            return;
        }
        const JoinedQuadric joined = from.join(v, b);
        double unused;
        const Vec3 exact = joined.middle + joined.place(from.held[v], from.held[b], unused);
        const float x = static_cast<float>(exact.x), y = static_cast<float>(exact.y), z = static_cast<float>(exact.z);
        float* p = to.positions + 3 * at;
        p[0] = x, p[1] = y, p[2] = z;
        to.quadrics[at] = joined.at<float>(Vec3{x, y, z} - joined.middle);
        to.held[at] = from.held[v] | from.held[b];
    }
};

// A face is written by its lowest vertex. `corners` [n]: how many each one writes.
struct CountFacesBody {
    CollapseMesh mesh;
    int32_t* corners;

    OVOXEL_HD void operator()(int64_t v) const {
        int32_t count = 0;
        for (int64_t i = mesh.offsets[v]; i < mesh.offsets[v + 1]; ++i)
            count += mesh.links[i].p > v && mesh.links[i].q > v;
        corners[v] = count;
    }
};

struct WriteFacesBody {
    CollapseMesh mesh;
    const int64_t* begin;
    int32_t* faces;

    OVOXEL_HD void operator()(int64_t v) const {
        int32_t* out = faces + 3 * begin[v];
        for (int64_t i = mesh.offsets[v]; i < mesh.offsets[v + 1]; ++i) {
            const Link link = mesh.links[i];
            if (link.p <= v || link.q <= v) continue;
            out[0] = static_cast<int32_t>(v), out[1] = link.p, out[2] = link.q;
            out += 3;
        }
    }
};

}  // namespace ovoxel::mesh
