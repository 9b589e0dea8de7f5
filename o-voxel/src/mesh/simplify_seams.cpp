// Simplification of an unwrapped mesh that keeps its texture coordinates.
//
// Vertices at one position are one vertex of the surface; its copies, which differ in their coordinates (wedges), belong
// to the face corners. An edge whose two faces have different wedges is a seam. The joined vertex lies on the collapsed
// edge, so that its coordinates are those of that point on both sides. Seam vertices move along their seam only; where
// seams end or meet nothing moves. No triangle may turn over in the texture.
#include <array>
#include <cmath>

#include "mesh/edge_heap.h"

namespace ovoxel::mesh {
namespace {

using Uv = std::array<double, 2>;

class SeamHeap final : public EdgeHeap {
public:
    SeamHeap(const SimplifyInput& input, const SimplifyOptions& options, const SeamInput& seams)
        : EdgeHeap(input, options), wedge_(seams.wedges), uv_(seams.uvs), level_(input.positions.size(), 0) {
        findSeams(input.quadrics.empty());
    }

    SeamResult seamResult(int phase) const {
        SeamResult out;
        out.surface = result(phase);
        std::vector<uint8_t> used(uv_.size(), 0);
        std::vector<int32_t> rename(uv_.size(), -1);
        for (size_t i = 0; i < wedge_.size(); ++i) used[wedge_[i]] |= alive_[i / 3];
        for (size_t w = 0; w < uv_.size(); ++w) {
            if (!used[w]) continue;
            rename[w] = static_cast<int32_t>(out.wedgeSource.size());
            out.wedgeSource.push_back(static_cast<int32_t>(w));
            out.uvs.push_back(uv_[w]);
        }
        for (size_t i = 0; i < wedge_.size(); ++i)
            if (alive_[i / 3]) out.wedges.push_back(rename[wedge_[i]]);
        return out;
    }

private:
    enum Level : uint8_t { kFree = 0, kOnSeam = 1, kFixed = 2 };

    struct Side {  // of an edge: the wedges at its ends in one face
        uint64_t edge;
        int32_t low, high;
        bool operator<(const Side& o) const {
            return edge != o.edge ? edge < o.edge : (low != o.low ? low < o.low : high < o.high);
        }
    };

    void findSeams(bool addPlanes) {
        std::vector<Side> sides;
        for (int64_t f = 0; f < numFaces_; ++f) {
            if (!alive_[f]) continue;
            for (int k = 0; k < 3; ++k) {
                const int64_t i = 3 * f + k, j = 3 * f + (k + 1) % 3;
                const bool swap = faces_[i] > faces_[j];
                const int64_t low = swap ? j : i, high = swap ? i : j;
                sides.push_back({static_cast<uint64_t>(faces_[low]) << 32 | static_cast<uint32_t>(faces_[high]),
                                 wedge_[low], wedge_[high]});
            }
        }
        std::sort(sides.begin(), sides.end());
        std::vector<int32_t> seamsAt(pos_.size(), 0);
        std::vector<Symmetric3> sums(pos_.size());
        for (size_t i = 0; i < sides.size();) {
            size_t j = i;
            bool seam = false;
            while (j < sides.size() && sides[j].edge == sides[i].edge) {
                seam |= sides[j].low != sides[i].low || sides[j].high != sides[i].high;
                ++j;
            }
            if (seam) {
                const auto a = static_cast<int32_t>(sides[i].edge >> 32), b = static_cast<int32_t>(sides[i].edge);
                ++seamsAt[a];
                ++seamsAt[b];
                if (addPlanes) addSidePlanes(a, b, sums);
            }
            i = j;
        }
        for (size_t v = 0; v < pos_.size(); ++v) {
            const int wedges = countWedges(static_cast<int32_t>(v));
            if (seamsAt[v] == 0 && wedges <= 1) continue;
            level_[v] = seamsAt[v] == 2 && wedges == 2 && !held_[v] ? kOnSeam : kFixed;
            Quadric<double>& q = quadric_[v];
            q.a[0] += sums[v].xx, q.a[1] += sums[v].xy, q.a[2] += sums[v].xz;
            q.a[3] += sums[v].yy, q.a[4] += sums[v].yz, q.a[5] += sums[v].zz;
        }
    }

    int countWedges(int32_t v) {
        std::vector<int32_t> seen;
        forFaces(v, [&](int32_t f) { seen.push_back(wedgeAt(f, v)); });
        std::sort(seen.begin(), seen.end());
        return static_cast<int>(std::unique(seen.begin(), seen.end()) - seen.begin());
    }

    int32_t& wedgeAt(int32_t f, int32_t v) {
        const int64_t i = 3 * static_cast<int64_t>(f);
        return wedge_[faces_[i] == v ? i : (faces_[i + 1] == v ? i + 1 : i + 2)];
    }

    int grade(int32_t v) const { return std::max<int>(level_[v], held_[v] ? kOnSeam : kFree); }

    // The best point of the edge: one end if that one is tied down more than the other.
    Vec3 place(int32_t a, int32_t b, const JoinedQuadric& joined, double& cost) override {
        const int ga = grade(a), gb = grade(b);
        double s;
        if (isHub(a)) {
            s = -1;
        } else if (ga != gb) {
            s = ga > gb ? -1 : 1;
        } else {
            const double h2 = dot(joined.half, joined.a * joined.half), h1 = dot(joined.b, joined.half);
            s = h2 > 0 ? std::clamp(-h1 / h2, -1.0, 1.0) : 0.0;
        }
        const Vec3 offset = joined.half * s;
        const bool never = (ga == kFixed && gb == kFixed) || (isHub(a) && gb > ga);
        cost = never ? kNever : std::max(0.0, joined.error(offset));
        return offset;
    }

    // How far along the edge an offset from its middle lies: -1 at a, 1 at b.
    static double along(const JoinedQuadric& joined, const Vec3& offset) {
        const double h2 = norm2(joined.half);
        return h2 > 0 ? std::clamp(dot(joined.half, offset) / h2, -1.0, 1.0) : 0.0;
    }

    struct Pair {
        int32_t a, b;  // wedges at the ends of the edge, in one of its faces
    };

    // The wedges that become one; false if some wedge would be left over, or if both ends lie on seams that are not the
    // collapsed edge.
    bool pairs(int32_t a, int32_t b, double s, std::vector<Pair>& out) {
        out.clear();
        int common = 0;
        forFaces(b, [&](int32_t f) {
            if (!has(f, a)) return;
            ++common;
            const Pair pair{wedgeAt(f, a), wedgeAt(f, b)};
            for (const Pair& p : out)
                if (p.a == pair.a && p.b == pair.b) return;
            out.push_back(pair);
        });
        const bool seam = out.size() > 1;
        if (grade(a) != kFree && grade(b) != kFree && !seam && common != 1) return false;
        auto covered = [&](int32_t v, bool first) {
            bool all = true;
            forFaces(v, [&](int32_t f) {
                const int32_t w = wedgeAt(f, v);
                int found = 0;
                for (const Pair& p : out) found += (first ? p.a : p.b) == w;
                all &= found == 1;
            });
            return all;
        };
        if (s > -1 && !covered(a, true)) return false;   // a's corners move
        if (s < 1 && !covered(b, false)) return false;   // b's corners move
        return true;
    }

    Uv between(const Pair& p, double s) const {
        const double t = (1 + s) / 2;
        return {uv_[p.a][0] * (1 - t) + uv_[p.b][0] * t, uv_[p.a][1] * (1 - t) + uv_[p.b][1] * t};
    }

    static double area(const Uv& p, const Uv& q, const Uv& r) {
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]);
    }

    bool permits(int32_t a, int32_t b, const JoinedQuadric& joined, const Vec3& offset) override {
        const double s = along(joined, offset);
        if (!pairs(a, b, s, pairs_)) return false;
        bool ok = true;
        auto test = [&](int32_t v, int32_t other, bool first) {
            forFaces(v, [&](int32_t f) {
                if (!ok || has(f, other)) return;
                const int64_t i = 3 * static_cast<int64_t>(f);
                Uv before[3], after[3];
                for (int k = 0; k < 3; ++k) {
                    before[k] = after[k] = uv_[wedge_[i + k]];
                    if (faces_[i + k] != v) continue;
                    for (const Pair& p : pairs_)
                        if ((first ? p.a : p.b) == wedge_[i + k]) after[k] = between(p, s);
                }
                const double was = area(before[0], before[1], before[2]), is = area(after[0], after[1], after[2]);
                ok = was == 0 || was * is > 0;
            });
        };
        if (s > -1) test(a, b, true);
        if (s < 1) test(b, a, false);
        return ok;
    }

    void joining(int32_t a, int32_t b, const JoinedQuadric& joined, const Vec3& offset) override {
        const double s = along(joined, offset);
        pairs(a, b, s, pairs_);
        const bool keepB = s >= 1;  // the wedges of b stay as they are, also those that no face of the edge has
        for (const Pair& p : pairs_)
            if (s > -1 && !keepB) uv_[p.a] = between(p, s);
        auto rename = [&](int32_t v, bool first) {
            forFaces(v, [&](int32_t f) {
                int32_t& w = wedgeAt(f, v);
                for (const Pair& p : pairs_)
                    if ((first ? p.a : p.b) == w) {
                        w = first ? p.b : p.a;
                        break;
                    }
            });
        };
        if (keepB)
            rename(a, true);
        else
            rename(b, false);
        level_[a] = std::max(level_[a], level_[b]);
    }

    std::vector<int32_t> wedge_;  // [3 * F]
    std::vector<Uv> uv_;          // [wedges]
    std::vector<uint8_t> level_;  // [V]
    std::vector<Pair> pairs_;
};

}  // namespace

SeamResult simplifyWithSeams(const SimplifyInput& input, const SimplifyOptions& options, const SeamInput& seams) {
    SeamHeap heap(input, options, seams);
    return heap.seamResult(heap.run());
}

}  // namespace ovoxel::mesh
