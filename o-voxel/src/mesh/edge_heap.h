// Edge collapse one at a time in order of (cost, vertex ids), with a heap. What a subclass may add: where the joined vertex
// goes, a further test, and data at the corners.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "mesh/simplify.h"

namespace ovoxel::mesh {

struct Candidate {
    double cost;
    int32_t a, b;  // a < b
    uint32_t versionA, versionB;
};

// Heap order: the cheapest on top; ties go to the lower vertex ids, so that runs repeat exactly.
inline bool costlier(const Candidate& l, const Candidate& r) {
    if (l.cost != r.cost) return l.cost > r.cost;
    if (l.a != r.a) return l.a > r.a;
    return l.b > r.b;
}

class EdgeHeap {
public:
    EdgeHeap(const SimplifyInput& input, const SimplifyOptions& options)
        : options_(options), pos_(input.positions), faces_(input.faces),
          numFaces_(static_cast<int64_t>(input.faces.size() / 3)) {
        const size_t n = pos_.size();
        version_.assign(n, 0);
        mark_.assign(n, 0);
        head_.assign(n, -1);
        valence_.assign(n, 0);
        tail_.assign(n, -1);
        next_.assign(faces_.size(), -1);
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
        if (input.quadrics.empty()) {
            buildQuadrics();
        } else {
            quadric_ = input.quadrics;
            held_ = input.held;
        }
    }
    virtual ~EdgeHeap() = default;
    EdgeHeap(const EdgeHeap&) = delete;
    EdgeHeap& operator=(const EdgeHeap&) = delete;

    int run() {
        for (phase_ = 0; phase_ <= options_.lastPhase; ++phase_) {
            // A collapse can free an edge that was refused before, so refill the heap until nothing more happens.
            for (int pass = 1;; ++pass) {
                if (aliveFaces_ <= options_.targetFaces) return phase_;
                const int64_t before = aliveFaces_;
                fillHeap();
                drainHeap();
                if (aliveFaces_ <= options_.targetFaces) return phase_;
                const int64_t went = before - aliveFaces_;
                if (went == 0 || (pass > kPasses && went < before / 1000)) break;
            }
        }
        return phase_ = options_.lastPhase;
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
            rename[v] = static_cast<int32_t>(out.positions.size());
            out.vertexSource.push_back(static_cast<int32_t>(v));
            out.positions.push_back(pos_[v]);
            out.quadrics.push_back(quadric_[v]);
            out.held.push_back(held_[v]);
        }
        for (int64_t f = 0; f < numFaces_; ++f) {
            if (!alive_[f]) continue;
            for (int k = 0; k < 3; ++k) out.faces.push_back(rename[faces_[3 * f + k]]);
        }
        return out;
    }

protected:
    static constexpr size_t kMostFaces = 4;    // of an edge that may go
    static constexpr int kPasses = 20;         // over all edges, as long as they are worth it
    static constexpr int32_t kHubFaces = 256;  // a vertex with more is a hub: it stays where it is
    static constexpr double kNever = std::numeric_limits<double>::infinity();

    // Where the joined vertex goes, from the midpoint; a cost of kNever forbids the collapse. Of two ends with one hub
    // the hub is a.
    virtual Vec3 place(int32_t a, int32_t b, const JoinedQuadric& joined, double& cost) {
        if (!isHub(a)) return joined.place(held_[a], held_[b], cost);
        const Vec3 offset = joined.place(true, false, cost);
        if (phase_ < 2 && held_[b] && !held_[a]) cost = kNever;
        return offset;
    }
    // A further test, and what else has to be joined, right before the faces are.
    virtual bool permits(int32_t, int32_t, const JoinedQuadric&, const Vec3&) { return true; }
    virtual void joining(int32_t, int32_t, const JoinedQuadric&, const Vec3&) {}

    void appendCorner(int32_t v, int32_t c) {
        ++valence_[v];
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
        std::vector<Symmetric3> sums(pos_.size());
        held_.assign(pos_.size(), 0);
        for (int64_t f = 0; f < numFaces_; ++f) {
            if (!alive_[f]) continue;
            const int32_t* t = &faces_[3 * f];
            const Vec3 n = cross(pos_[t[1]] - pos_[t[0]], pos_[t[2]] - pos_[t[0]]);
            const double length = norm(n);
            if (!(length > 0)) continue;
            for (int k = 0; k < 3; ++k) {
                sums[t[k]].addPlane(n * (1 / length), length / 6);
                sums[t[k]].addPoint(options_.regularization * length / 6);
            }
        }
        // An edge with one face, or with more than two, is a feature that must stay where it is.
        for (size_t i = 0; i < edges_.size();) {
            size_t j = i;
            while (j < edges_.size() && edges_[j] == edges_[i]) ++j;
            if (j - i != 2) holdEdge(static_cast<int32_t>(edges_[i] >> 32), static_cast<int32_t>(edges_[i]), sums);
            i = j;
        }
        quadric_.reserve(pos_.size());
        for (const Symmetric3& m : sums) quadric_.push_back({{m.xx, m.xy, m.xz, m.yy, m.yz, m.zz}, {0, 0, 0}, 0});
    }

    void holdEdge(int32_t a, int32_t b, std::vector<Symmetric3>& sums) {
        held_[a] = held_[b] = 1;
        addSidePlanes(a, b, sums);
    }

    // Planes through an edge at right angles to its faces: they keep it in place.
    void addSidePlanes(int32_t a, int32_t b, std::vector<Symmetric3>& sums) {
        const Vec3 e = pos_[b] - pos_[a];
        const double w = options_.boundaryWeight * norm2(e);
        forFaces(a, [&](int32_t f) {
            if (!has(f, b)) return;
            const int32_t* t = &faces_[3 * static_cast<int64_t>(f)];
            const Vec3 side = cross(e, cross(pos_[t[1]] - pos_[t[0]], pos_[t[2]] - pos_[t[0]]));
            const double length = norm(side);
            if (!(length > 0)) return;
            sums[a].addPlane(side * (1 / length), w);
            sums[b].addPlane(side * (1 / length), w);
        });
    }

    bool isHub(int32_t v) const { return valence_[v] > kHubFaces; }

    // The order in which the ends of an edge are joined: all that is done then walks the faces of b, and those of a only
    // if that is no hub. So the time stays bounded where very many faces meet in a vertex.
    std::pair<int32_t, int32_t> oriented(int32_t a, int32_t b) const {
        const bool swap = isHub(a) || isHub(b) ? valence_[b] > valence_[a] : a > b;
        return swap ? std::pair{b, a} : std::pair{a, b};
    }

    JoinedQuadric join(int32_t a, int32_t b) const { return {quadric_[a], pos_[a], quadric_[b], pos_[b]}; }

    void push(int32_t v, int32_t w) {
        const auto [a, b] = oriented(v, w);
        double cost;
        place(a, b, join(a, b), cost);
        if (!(cost < kNever)) return;
        const int32_t low = std::min(v, w), high = std::max(v, w);
        heap_.push_back({cost, low, high, version_[low], version_[high]});
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
            const auto [a, b] = oriented(top.a, top.b);
            const JoinedQuadric joined = join(a, b);
            double cost;
            const Vec3 offset = place(a, b, joined, cost);
            if (!(cost < kNever)) continue;
            if (phase_ < 2 && !(linkHolds(a, b) && normalsHold(a, b, joined.middle + offset))) continue;
            if (!permits(a, b, joined, offset)) continue;
            collapse(a, b, joined, offset);
        }
    }

    // The edge may go without a change of topology: a and b share no neighbour besides the tips of their common faces,
    // and do not both have a face with the two tips, which would fall onto each other.
    bool linkHolds(int32_t a, int32_t b) {
        tips_.clear();
        bool twice = false;
        forFaces(b, [&](int32_t f) {
            if (!has(f, a) || tips_.size() > kMostFaces) return;
            for (int k = 0; k < 3; ++k) {
                const int32_t v = faces_[3 * static_cast<int64_t>(f) + k];
                if (v == a || v == b) continue;
                twice |= isTip(v);
                tips_.push_back(v);
            }
        });
        const size_t common = tips_.size();
        if (common == 0 || common > kMostFaces || twice || (common == 2 && held_[a] && held_[b])) return false;
        if (valence_[a] == static_cast<int32_t>(common) && valence_[b] == valence_[a]) return false;  // nothing but these
        for (size_t i = 0; i < common; ++i)
            for (size_t j = i + 1; j < common; ++j)
                if (hasFace(a, tips_[i], tips_[j]) && hasFace(b, tips_[i], tips_[j])) return false;
        if (!(isHub(a) ? apartAtHub(a, b) : apart(a, b))) return false;
        return common == 2 || singularEdgesHold(a, b);
    }

    bool isTip(int32_t v) const { return std::find(tips_.begin(), tips_.end(), v) != tips_.end(); }

    // See ProposeBody in collapse_body.h.
    bool singularEdgesHold(int32_t a, int32_t b) {
        for (int32_t tip : tips_) {
            const int atA = facesAt(a, tip), atB = facesAt(b, tip);
            if (atA == 2 || atB == 2) continue;
            const bool ear = tips_.size() == 1 && ((valence_[a] == 1 && atB > 2) || (valence_[b] == 1 && atA > 2));
            if (!ear) return false;
        }
        return valence_[a] == 1 || valence_[b] == 1 || singularEdges(b) == 2 || singularEdges(a) == 2;
    }

    // Faces that hold both a and b, counted up to kMostFaces + 1.
    int facesAt(int32_t a, int32_t b) const {
        int count = 0;
        for (int32_t c = head_[valence_[a] < valence_[b] ? a : b]; c >= 0 && count <= int{kMostFaces}; c = next_[c])
            count += alive_[c / 3] && has(c / 3, a) && has(c / 3, b);
        return count;
    }

    int singularEdges(int32_t v) {
        if (isHub(v)) return -1;
        neighbours_.clear();
        ++stamp_;
        forFaces(v, [&](int32_t f) { collectNeighbours(f, v, v); });
        int count = 0;
        for (int32_t w : neighbours_) count += facesAt(v, w) != 2;
        return count;
    }

    // Is there a face with these corners? Read from the faces of the one that has the fewest.
    bool hasFace(int32_t u, int32_t v, int32_t w) {
        if (valence_[v] < valence_[u]) std::swap(u, v);
        if (valence_[w] < valence_[u]) std::swap(u, w);
        bool found = false;
        forFaces(u, [&](int32_t f) { found |= has(f, v) && has(f, w); });
        return found;
    }

    // No vertex besides the tips is joined by an edge to both a and b.
    bool apart(int32_t a, int32_t b) {
        ++stamp_;
        forFaces(a, [&](int32_t f) {
            for (int k = 0; k < 3; ++k) mark_[faces_[3 * static_cast<int64_t>(f) + k]] = stamp_;
        });
        mark_[a] = mark_[b] = 0;
        for (int32_t tip : tips_) mark_[tip] = 0;
        bool shared = false;
        forFaces(b, [&](int32_t f) {
            for (int k = 0; k < 3; ++k) shared |= mark_[faces_[3 * static_cast<int64_t>(f) + k]] == stamp_;
        });
        return !shared;
    }

    // The same without a walk around a.
    bool apartAtHub(int32_t a, int32_t b) {
        bool shared = false;
        forFaces(b, [&](int32_t f) {
            for (int k = 0; k < 3 && !shared; ++k) {
                const int32_t u = faces_[3 * static_cast<int64_t>(f) + k];
                if (u == a || u == b || isTip(u)) continue;
                forFaces(valence_[u] < valence_[a] ? u : a, [&](int32_t g) { shared |= has(g, a) && has(g, u); });
            }
        });
        return !shared;
    }

    bool normalsHold(int32_t a, int32_t b, const Vec3& where) {
        const FaceLimits limits{phase_ == 0 ? options_.maxNormalAngleCos : 0.0, phase_ == 0 ? kMinShape : 0.0};
        bool ok = true;
        auto test = [&](int32_t v, int32_t other) {
            forFaces(v, [&](int32_t f) {
                if (!ok || has(f, other)) return;
                const int32_t* t = &faces_[3 * static_cast<int64_t>(f)];
                const int k = t[0] == v ? 0 : (t[1] == v ? 1 : 2);
                ok = limits.allow(pos_[v], where, pos_[t[(k + 1) % 3]], pos_[t[(k + 2) % 3]]);
            });
        };
        if (norm2(where - pos_[a]) > 0) test(a, b);
        test(b, a);
        return ok;
    }

    void kill(int32_t f) {
        alive_[f] = 0;
        --aliveFaces_;
        for (int k = 0; k < 3; ++k) --valence_[faces_[3 * static_cast<int64_t>(f) + k]];
    }

    void collapse(int32_t a, int32_t b, const JoinedQuadric& joined, const Vec3& offset) {
        const bool hub = isHub(a);
        joining(a, b, joined, offset);
        neighbours_.clear();
        moved_.clear();
        ++stamp_;
        forFaces(b, [&](int32_t f) {
            if (has(f, a)) {
                collectNeighbours(f, a, b);
                kill(f);
                return;
            }
            int32_t* t = &faces_[3 * static_cast<int64_t>(f)];
            for (int k = 0; k < 3; ++k) {
                if (t[k] == b) t[k] = a;
            }
            moved_.push_back(f);
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
        valence_[a] += static_cast<int32_t>(moved_.size());
        valence_[b] = 0;
        quadric_[a] = joined.at<double>(offset);
        pos_[a] = joined.middle + offset;
        held_[a] |= held_[b];
        ++version_[b];
        if (phase_ == 2) hub ? dropFoldsOfMoved(a) : dropFolds(a);
        if (hub) {  // the other edges of a hub keep their place in the heap, though their cost has changed a little
            for (int32_t f : moved_)
                if (alive_[f]) collectNeighbours(f, a, b);
        } else {
            ++version_[a];
            neighbours_.clear();
            ++stamp_;
            forFaces(a, [&](int32_t f) { collectNeighbours(f, a, b); });
        }
        for (int32_t v : neighbours_) {
            if (valence_[v] == 0 || (hub && isHub(v))) continue;  // an edge between hubs waits for the next pass
            push(a, v);
            std::push_heap(heap_.begin(), heap_.end(), costlier);
        }
    }

    void collectNeighbours(int32_t f, int32_t a, int32_t b) {
        for (int k = 0; k < 3; ++k) {
            const int32_t v = faces_[3 * static_cast<int64_t>(f) + k];
            if (v == a || v == b || mark_[v] == stamp_) continue;
            mark_[v] = stamp_;
            neighbours_.push_back(v);
        }
    }

    // dropFolds for a hub: looks only at the faces that have just come to it.
    void dropFoldsOfMoved(int32_t a) {
        for (int32_t f : moved_) {
            if (!alive_[f]) continue;
            const int32_t* t = &faces_[3 * static_cast<int64_t>(f)];
            const int k = t[0] == a ? 0 : (t[1] == a ? 1 : 2);
            const int32_t p = t[(k + 1) % 3], q = t[(k + 2) % 3];
            int32_t twin = -1;
            forFaces(valence_[p] < valence_[q] ? p : q, [&](int32_t g) {
                if (g != f && twin < 0 && has(g, a) && has(g, p) && has(g, q)) twin = g;
            });
            if (twin < 0) continue;
            const int32_t* o = &faces_[3 * static_cast<int64_t>(twin)];
            const int j = o[0] == a ? 0 : (o[1] == a ? 1 : 2);
            kill(f);
            if (o[(j + 1) % 3] == q) kill(twin);  // opposite ones cancel, equal ones merge
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
    std::vector<Vec3> pos_;
    std::vector<int32_t> faces_;
    const int64_t numFaces_;
    std::vector<Quadric<double>> quadric_;
    std::vector<uint32_t> version_;
    std::vector<int64_t> mark_;
    std::vector<uint8_t> held_, alive_;
    std::vector<int32_t> head_, tail_, next_;  // per vertex a linked list of corners 3 * face + k
    std::vector<uint64_t> edges_;              // (low << 32) | high, sorted, one entry for each face side
    std::vector<Candidate> heap_;
    std::vector<int32_t> neighbours_, moved_, valence_, tips_;
    int64_t aliveFaces_ = 0;
    int64_t stamp_ = 0;
    int phase_ = 0;
};

}  // namespace ovoxel::mesh
