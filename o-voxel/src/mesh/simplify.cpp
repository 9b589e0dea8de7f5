#include "mesh/simplify.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace ovoxel::mesh {
namespace {

// Symmetric quadric E(x) = x^T A x + 2 b^T x + c.
struct Quadric {
    double a00 = 0, a01 = 0, a02 = 0, a11 = 0, a12 = 0, a22 = 0, b0 = 0, b1 = 0, b2 = 0, c = 0;

    void addPlane(const Vec3& n, double d, double w) {
        a00 += w * n.x * n.x, a01 += w * n.x * n.y, a02 += w * n.x * n.z;
        a11 += w * n.y * n.y, a12 += w * n.y * n.z, a22 += w * n.z * n.z;
        b0 += w * n.x * d, b1 += w * n.y * d, b2 += w * n.z * d, c += w * d * d;
    }
    void addPoint(const Vec3& p, double w) {
        a00 += w, a11 += w, a22 += w;
        b0 -= w * p.x, b1 -= w * p.y, b2 -= w * p.z, c += w * norm2(p);
    }
    void add(const Quadric& o) {
        a00 += o.a00, a01 += o.a01, a02 += o.a02, a11 += o.a11, a12 += o.a12, a22 += o.a22;
        b0 += o.b0, b1 += o.b1, b2 += o.b2, c += o.c;
    }
    double eval(const Vec3& p) const {
        const double ax = a00 * p.x + a01 * p.y + a02 * p.z;
        const double ay = a01 * p.x + a11 * p.y + a12 * p.z;
        const double az = a02 * p.x + a12 * p.y + a22 * p.z;
        return p.x * ax + p.y * ay + p.z * az + 2 * (b0 * p.x + b1 * p.y + b2 * p.z) + c;
    }
    bool minimum(Vec3& out) const {
        const double m00 = a11 * a22 - a12 * a12, m01 = a02 * a12 - a01 * a22, m02 = a01 * a12 - a02 * a11;
        const double det = a00 * m00 + a01 * m01 + a02 * m02;
        const double trace = a00 + a11 + a22;
        if (!(std::abs(det) > 1e-14 * trace * trace * trace)) return false;
        const double m11 = a00 * a22 - a02 * a02, m12 = a01 * a02 - a00 * a12, m22 = a00 * a11 - a01 * a01;
        out = {-(m00 * b0 + m01 * b1 + m02 * b2) / det, -(m01 * b0 + m11 * b1 + m12 * b2) / det,
               -(m02 * b0 + m12 * b1 + m22 * b2) / det};
        return true;
    }
};

struct Candidate {
    double cost;
    int32_t a, b;  // a < b
    uint32_t versionA, versionB;
};

// Heap order: the cheapest on top; ties go to the lower vertex ids, so that runs repeat exactly.
bool costlier(const Candidate& l, const Candidate& r) {
    if (l.cost != r.cost) return l.cost > r.cost;
    if (l.a != r.a) return l.a > r.a;
    return l.b > r.b;
}

class Simplifier {
  public:
    Simplifier(const std::vector<Vec3>& vertices, const std::vector<int32_t>& faces, const SimplifyOptions& options)
        : options_(options), faces_(faces), numFaces_(static_cast<int64_t>(faces.size() / 3)) {
        normalise(vertices);
        const size_t n = pos_.size();
        quadric_.resize(n);
        version_.assign(n, 0);
        mark_.assign(n, 0);
        boundary_.assign(n, 0);
        head_.assign(n, -1);
        tail_.assign(n, -1);
        next_.assign(faces.size(), -1);
        alive_.assign(numFaces_, 1);
        aliveFaces_ = numFaces_;
        for (int64_t f = 0; f < numFaces_; ++f) {
            const int32_t* t = &faces_[3 * f];
            if (t[0] == t[1] || t[1] == t[2] || t[2] == t[0]) {
                alive_[f] = 0;
                --aliveFaces_;
            }
        }
        for (int32_t c = 0; c < static_cast<int32_t>(faces_.size()); ++c) {
            if (alive_[c / 3]) appendCorner(faces_[c], c);
        }
        collectEdges();
        buildQuadrics();
    }

    int run() {
        for (phase_ = 0; phase_ <= 2; ++phase_) {
            // A collapse can free an edge that was refused before, so refill the heap until nothing more happens.
            for (;;) {
                if (aliveFaces_ <= options_.targetFaces) return phase_;
                const int64_t before = aliveFaces_;
                fillHeap();
                drainHeap();
                if (aliveFaces_ <= options_.targetFaces) return phase_;
                if (aliveFaces_ == before) break;
            }
            if (!options_.mustReachTarget) return phase_;
        }
        return 2;
    }

    SimplifyResult result(int phase) const {
        SimplifyResult out;
        out.phase = phase;
        std::vector<int32_t> rename(pos_.size(), -1);
        std::vector<uint8_t> used(pos_.size(), 0);
        for (int64_t f = 0; f < numFaces_; ++f) {
            if (!alive_[f]) continue;
            for (int k = 0; k < 3; ++k) used[faces_[3 * f + k]] = 1;
        }
        for (size_t v = 0; v < pos_.size(); ++v) {
            if (!used[v]) continue;
            rename[v] = static_cast<int32_t>(out.vertices.size());
            out.vertexSource.push_back(static_cast<int32_t>(v));
            out.vertices.push_back(pos_[v] * scale_ + centre_);
        }
        for (int64_t f = 0; f < numFaces_; ++f) {
            if (!alive_[f]) continue;
            for (int k = 0; k < 3; ++k) out.faces.push_back(rename[faces_[3 * f + k]]);
        }
        return out;
    }

  private:
    void normalise(const std::vector<Vec3>& vertices) {
        const double inf = std::numeric_limits<double>::infinity();
        Vec3 lo{inf, inf, inf}, hi{-inf, -inf, -inf};
        for (int32_t v : faces_) {
            const Vec3& p = vertices[v];
            lo = {std::min(lo.x, p.x), std::min(lo.y, p.y), std::min(lo.z, p.z)};
            hi = {std::max(hi.x, p.x), std::max(hi.y, p.y), std::max(hi.z, p.z)};
        }
        if (!faces_.empty()) {
            centre_ = (lo + hi) * 0.5;
            scale_ = std::max({hi.x - lo.x, hi.y - lo.y, hi.z - lo.z});
            if (!(scale_ > 0)) scale_ = 1;
        }
        pos_.reserve(vertices.size());
        for (const Vec3& p : vertices) pos_.push_back((p - centre_) * (1 / scale_));
    }

    void appendCorner(int32_t v, int32_t c) {
        next_[c] = -1;
        if (head_[v] < 0) {
            head_[v] = tail_[v] = c;
        } else {
            next_[tail_[v]] = c;
            tail_[v] = c;
        }
    }

    // Calls body(face) for the live faces around v, and unlinks the dead ones on the way.
    template <class Body>
    void forFaces(int32_t v, Body&& body) {
        int32_t previous = -1;
        for (int32_t c = head_[v]; c >= 0;) {
            const int32_t following = next_[c];
            if (alive_[c / 3]) {
                body(c / 3);
                previous = c;
            } else {
                (previous < 0 ? head_[v] : next_[previous]) = following;
                if (following < 0) tail_[v] = previous;
            }
            c = following;
        }
        if (head_[v] < 0) tail_[v] = -1;
    }

    bool has(int32_t f, int32_t v) const {
        const int32_t* t = &faces_[3 * static_cast<int64_t>(f)];
        return t[0] == v || t[1] == v || t[2] == v;
    }

    void collectEdges() {
        edges_.clear();
        edges_.reserve(3 * aliveFaces_);
        for (int64_t f = 0; f < numFaces_; ++f) {
            if (!alive_[f]) continue;
            for (int k = 0; k < 3; ++k) {
                int32_t a = faces_[3 * f + k], b = faces_[3 * f + (k + 1) % 3];
                if (a > b) std::swap(a, b);
                edges_.push_back((static_cast<uint64_t>(a) << 32) | static_cast<uint32_t>(b));
            }
        }
        std::sort(edges_.begin(), edges_.end());
    }

    void buildQuadrics() {
        double totalArea = 0;
        for (int64_t f = 0; f < numFaces_; ++f) {
            if (!alive_[f]) continue;
            const int32_t* t = &faces_[3 * f];
            const Vec3 n = cross(pos_[t[1]] - pos_[t[0]], pos_[t[2]] - pos_[t[0]]);
            const double length = norm(n);
            if (!(length > 0)) continue;
            totalArea += length / 2;
            const Vec3 u = n * (1 / length);
            const double d = -dot(u, pos_[t[0]]);
            for (int k = 0; k < 3; ++k) {
                quadric_[t[k]].addPlane(u, d, length / 6);
                quadric_[t[k]].addPoint(pos_[t[k]], options_.regularization * length / 6);
            }
        }
        // An edge with one face, or with more than two, is a feature that must stay where it is.
        for (size_t i = 0; i < edges_.size();) {
            size_t j = i;
            while (j < edges_.size() && edges_[j] == edges_[i]) ++j;
            if (j - i != 2) holdEdge(static_cast<int32_t>(edges_[i] >> 32), static_cast<int32_t>(edges_[i]));
            i = j;
        }
    }

    void holdEdge(int32_t a, int32_t b) {
        boundary_[a] = boundary_[b] = 1;
        const Vec3 e = pos_[b] - pos_[a];
        const double w = options_.boundaryWeight * norm2(e);
        forFaces(a, [&](int32_t f) {
            if (!has(f, b)) return;
            const int32_t* t = &faces_[3 * static_cast<int64_t>(f)];
            const Vec3 side = cross(e, cross(pos_[t[1]] - pos_[t[0]], pos_[t[2]] - pos_[t[0]]));
            const double length = norm(side);
            if (!(length > 0)) return;
            const Vec3 n = side * (1 / length);
            const double d = -dot(n, pos_[a]);
            quadric_[a].addPlane(n, d, w);
            quadric_[b].addPlane(n, d, w);
        });
    }

    double evaluate(int32_t a, int32_t b, Vec3& where) const {
        Quadric q = quadric_[a];
        q.add(quadric_[b]);
        if (boundary_[a] != boundary_[b]) {
            where = boundary_[a] ? pos_[a] : pos_[b];
            return std::max(0.0, q.eval(where));
        }
        const Vec3 mid = (pos_[a] + pos_[b]) * 0.5;
        if (q.minimum(where) && norm2(where - mid) <= norm2(pos_[a] - pos_[b])) return std::max(0.0, q.eval(where));
        double best = std::numeric_limits<double>::infinity();
        for (const Vec3& p : {mid, pos_[a], pos_[b]}) {
            const double e = q.eval(p);
            if (e < best) best = e, where = p;
        }
        return std::max(0.0, best);
    }

    void push(int32_t a, int32_t b) {
        if (a > b) std::swap(a, b);
        Vec3 where;
        const double cost = evaluate(a, b, where);
        if (!(cost < std::numeric_limits<double>::infinity())) return;
        heap_.push_back({cost, a, b, version_[a], version_[b]});
    }

    void fillHeap() {
        collectEdges();
        heap_.clear();
        uint64_t last = std::numeric_limits<uint64_t>::max();
        for (uint64_t key : edges_) {
            if (key != last) push(static_cast<int32_t>(key >> 32), static_cast<int32_t>(key));
            last = key;
        }
        std::make_heap(heap_.begin(), heap_.end(), costlier);
    }

    void drainHeap() {
        while (!heap_.empty() && aliveFaces_ > options_.targetFaces) {
            std::pop_heap(heap_.begin(), heap_.end(), costlier);
            const Candidate top = heap_.back();
            heap_.pop_back();
            if (version_[top.a] != top.versionA || version_[top.b] != top.versionB) continue;
            Vec3 where;
            evaluate(top.a, top.b, where);
            if (phase_ < 2 && !(linkHolds(top.a, top.b) && normalsHold(top.a, top.b, where))) continue;
            collapse(top.a, top.b, where);
        }
    }

    // The edge may go without a change of topology: a and b share no neighbour besides the tips of their common faces,
    // and no two faces fall onto each other.
    bool linkHolds(int32_t a, int32_t b) {
        int32_t tips[2];
        int common = 0;
        forFaces(a, [&](int32_t f) {
            if (!has(f, b)) return;
            if (common < 2) {
                const int32_t* t = &faces_[3 * static_cast<int64_t>(f)];
                for (int k = 0; k < 3; ++k) {
                    if (t[k] != a && t[k] != b) tips[common] = t[k];
                }
            }
            ++common;
        });
        if (common == 0 || common > 2) return false;
        if (common == 2 && (tips[0] == tips[1] || (boundary_[a] && boundary_[b]))) return false;
        ++stamp_;
        bool folded = false;
        forFaces(a, [&](int32_t f) {
            const int32_t* t = &faces_[3 * static_cast<int64_t>(f)];
            for (int k = 0; k < 3; ++k) mark_[t[k]] = stamp_;
            if (common == 2 && has(f, tips[0]) && has(f, tips[1])) folded = true;
        });
        mark_[a] = mark_[b] = 0;
        for (int k = 0; k < common; ++k) mark_[tips[k]] = 0;
        if (folded) return false;
        bool shared = false;
        forFaces(b, [&](int32_t f) {
            const int32_t* t = &faces_[3 * static_cast<int64_t>(f)];
            for (int k = 0; k < 3; ++k) shared |= mark_[t[k]] == stamp_;
        });
        return !shared;
    }

    bool normalsHold(int32_t a, int32_t b, const Vec3& where) {
        const double limit = phase_ == 0 ? options_.maxNormalAngleCos : 0.0;
        bool ok = true;
        auto test = [&](int32_t v, int32_t other) {
            forFaces(v, [&](int32_t f) {
                if (!ok || has(f, other)) return;
                const int32_t* t = &faces_[3 * static_cast<int64_t>(f)];
                Vec3 p[3], r[3];
                for (int k = 0; k < 3; ++k) {
                    p[k] = pos_[t[k]];
                    r[k] = t[k] == v ? where : p[k];
                }
                const Vec3 before = cross(p[1] - p[0], p[2] - p[0]), after = cross(r[1] - r[0], r[2] - r[0]);
                const double lengthBefore = norm(before), lengthAfter = norm(after);
                if (lengthBefore < 1e-16) return;
                if (!(dot(before, after) > limit * lengthBefore * lengthAfter)) {
                    ok = false;
                    return;
                }
                if (phase_ > 0) return;
                // No new slivers: shape 4 sqrt(3) A / (sum of squared edges) is 1 for an equilateral triangle.
                const double edges = norm2(r[1] - r[0]) + norm2(r[2] - r[1]) + norm2(r[0] - r[2]);
                const double edgesBefore = norm2(p[1] - p[0]) + norm2(p[2] - p[1]) + norm2(p[0] - p[2]);
                const double shape = 2 * 1.7320508075688772 * lengthAfter / std::max(edges, 1e-300);
                const double shapeBefore = 2 * 1.7320508075688772 * lengthBefore / std::max(edgesBefore, 1e-300);
                if (shape < 0.05 && shape < shapeBefore) ok = false;
            });
        };
        test(a, b);
        test(b, a);
        return ok;
    }

    void kill(int32_t f) {
        alive_[f] = 0;
        --aliveFaces_;
    }

    void collapse(int32_t a, int32_t b, const Vec3& where) {
        forFaces(b, [&](int32_t f) {
            if (has(f, a)) {
                kill(f);
                return;
            }
            int32_t* t = &faces_[3 * static_cast<int64_t>(f)];
            for (int k = 0; k < 3; ++k) {
                if (t[k] == b) t[k] = a;
            }
        });
        if (head_[b] >= 0) {
            if (head_[a] < 0) {
                head_[a] = head_[b];
            } else {
                next_[tail_[a]] = head_[b];
            }
            tail_[a] = tail_[b];
        }
        head_[b] = tail_[b] = -1;
        quadric_[a].add(quadric_[b]);
        pos_[a] = where;
        boundary_[a] |= boundary_[b];
        ++version_[a];
        ++version_[b];
        if (phase_ == 2) dropFolds(a);
        ++stamp_;
        neighbours_.clear();
        forFaces(a, [&](int32_t f) {
            const int32_t* t = &faces_[3 * static_cast<int64_t>(f)];
            for (int k = 0; k < 3; ++k) {
                if (t[k] == a || mark_[t[k]] == stamp_) continue;
                mark_[t[k]] = stamp_;
                neighbours_.push_back(t[k]);
            }
        });
        for (int32_t v : neighbours_) {
            push(a, v);
            std::push_heap(heap_.begin(), heap_.end(), costlier);
        }
    }

    // Without the link test two faces around v can get the same corners: opposite ones cancel, equal ones merge.
    void dropFolds(int32_t v) {
        std::vector<std::pair<std::pair<int32_t, int32_t>, int32_t>> rim;  // ((low, high), face or ~face if reversed)
        forFaces(v, [&](int32_t f) {
            const int32_t* t = &faces_[3 * static_cast<int64_t>(f)];
            const int k = t[0] == v ? 0 : (t[1] == v ? 1 : 2);
            const int32_t p = t[(k + 1) % 3], q = t[(k + 2) % 3];
            rim.push_back({{std::min(p, q), std::max(p, q)}, p < q ? f : ~f});
        });
        std::sort(rim.begin(), rim.end());
        for (size_t i = 0; i < rim.size();) {
            size_t j = i;
            int32_t forward = -1, backward = -1;
            while (j < rim.size() && rim[j].first == rim[i].first) {
                const int32_t f = rim[j].second >= 0 ? rim[j].second : ~rim[j].second;
                int32_t& mine = rim[j].second >= 0 ? forward : backward;
                int32_t& other = rim[j].second >= 0 ? backward : forward;
                if (other >= 0) {
                    kill(f);
                    kill(other);
                    other = -1;
                } else if (mine >= 0) {
                    kill(f);
                } else {
                    mine = f;
                }
                ++j;
            }
            i = j;
        }
    }

    const SimplifyOptions options_;
    std::vector<int32_t> faces_;
    const int64_t numFaces_;
    Vec3 centre_;
    double scale_ = 1;
    std::vector<Vec3> pos_;
    std::vector<Quadric> quadric_;
    std::vector<uint32_t> version_;
    std::vector<int64_t> mark_;
    std::vector<uint8_t> boundary_, alive_;
    std::vector<int32_t> head_, tail_, next_;  // per vertex a linked list of corners 3 * face + k
    std::vector<uint64_t> edges_;              // (low << 32) | high, sorted, one entry for each face side
    std::vector<Candidate> heap_;
    std::vector<int32_t> neighbours_;
    int64_t aliveFaces_ = 0;
    int64_t stamp_ = 0;
    int phase_ = 0;
};

}  // namespace

SimplifyResult simplifyMesh(const std::vector<Vec3>& vertices, const std::vector<int32_t>& faces,
                            const SimplifyOptions& options) {
    Simplifier simplifier(vertices, faces, options);
    return simplifier.result(simplifier.run());
}

}  // namespace ovoxel::mesh
