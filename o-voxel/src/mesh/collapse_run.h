// The rounds of the parallel edge collapse, written once; Executor says how a step runs over all indices.
//
// An Executor has forEach(n, body, name), sum(in, out, n) of int32 or uint8 (exclusive, out int64 [n + 1]),
// select(flags, out, n) -> count, fill(values, byte, count), copy(to, from, count), read(values, host, count),
// write(values, host, count), rows(input, mesh) (offsets and links of the input) and the workspace.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "mesh/collapse.h"
#include "mesh/collapse_body.h"
#include "mesh/simplify.h"

namespace ovoxel::mesh {

template <class Executor>
class CollapseRun {
public:
    CollapseRun(Executor& executor, const CollapseInput& input, const CollapseOptions& options)
        : exec_(executor), options_(options), n_(input.numVertices) {
        Workspace& w = exec_.workspace;
        mesh_.offsets = w.allocate<int64_t>(n_ + 1);
        numFaces_ = exec_.rows(input, mesh_);  // sets offsets and links
        allocateVertices(mesh_);
        exec_.copy(mesh_.positions, input.positions, 3 * n_);
        exec_.forEach(n_, IdentityBody{mesh_.source}, "sources");
        if (input.quadrics) {
            exec_.copy(mesh_.quadrics, input.quadrics, n_);
            exec_.copy(mesh_.held, input.held, n_);
        } else {
            exec_.forEach(n_, InitialQuadricBody{mesh_, options.boundaryWeight, options.regularization}, "quadrics");
        }
        allocateVertices(other_);
        other_.offsets = w.allocate<int64_t>(n_ + 1);
        other_.links = w.allocate<Link>(3 * numFaces_);
        cost_ = w.allocate<float>(n_);
        otherCost_ = w.allocate<float>(n_);
        end_ = w.allocate<int32_t>(n_);
        otherEnd_ = w.allocate<int32_t>(n_);
        partner_ = w.allocate<int32_t>(n_);
        key_ = w.allocate<uint64_t>(n_ + 1);
        lowest_ = w.allocate<uint64_t>(n_ + 1);
        flags_ = w.allocate<uint8_t>(n_);
        blocked_ = w.allocate<uint8_t>(n_);
        vertices_ = w.allocate<int64_t>(n_);
        removes_ = w.allocate<int32_t>(n_);
        into_ = w.allocate<int32_t>(n_);
        sample_ = w.allocate<float>(kSample);
        exec_.forEach(n_, StaleBody{cost_}, "costs");
    }

    CollapseResult run() {
        int64_t rounds = 0;
        double accepted = 0.2;  // share of the vertices below the cost limit whose edge is accepted
        bool progress = true;
        while (progress && numFaces_ > options_.targetFaces && n_ > 0) {
            const int64_t excess = numFaces_ - options_.targetFaces;
            const double wanted = std::min<double>(excess, options_.share * numFaces_ + 1) / 2;
            const int64_t below = excess == 1 ? n_ : std::min<int64_t>(n_, int64_t(wanted / accepted * kMargin) + 16);
            const int64_t removed = round(below, excess);
            const bool all = below == n_;
            accepted = removed > 0 ? std::min(0.5, removed / 2.0 / below) : accepted / 8;
            progress = removed > 0 || !all;
            if (all && removed < std::min<int64_t>(excess, numFaces_ / 2000 + 1)) progress = false;
            ++rounds;
        }
        if (rounds == 0) {  // drop unused vertices
            exec_.fill(partner_, 0xff, n_);
            exec_.fill(end_, 0xff, n_);
            rebuild(0);
        }
        CollapseResult out = faces();
        out.rounds = rounds;
        return out;
    }

private:
    static int64_t* scratch(uint64_t* memory) { return reinterpret_cast<int64_t*>(memory); }

    static constexpr int64_t kSample = 16384;
    static constexpr int kSweeps = 3;  // rounds of acceptance for one evaluation of the costs
    static constexpr double kMargin = 1.2;

    void allocateVertices(CollapseMesh& mesh) {
        Workspace& w = exec_.workspace;
        mesh.positions = w.allocate<float>(3 * n_);
        mesh.quadrics = w.allocate<Quadric<float>>(n_);
        mesh.held = w.allocate<uint8_t>(n_);
        mesh.source = w.allocate<int32_t>(n_);
    }

    // One round with the cheapest edges of about `below` vertices; removes at most `excess` faces, unless all
    // accepted edges have more. Returns how many.
    int64_t round(int64_t below, int64_t excess) {
        exec_.forEach(n_, CostBody{mesh_, cost_, end_}, "collapse costs");
        const float limit = costLimit(below);
        exec_.forEach(n_, CheapBody{cost_, flags_, limit}, "cheap edges");
        const int64_t m = exec_.select(flags_, vertices_, n_);
        const FaceLimits limits{options_.maxNormalAngleCos, kMinShape};
        exec_.fill(partner_, 0xff, n_);
        exec_.forEach(m, ProposeBody{mesh_, vertices_, cost_, end_, partner_, key_, limit, limits}, "proposals");
        exec_.fill(blocked_, 0, n_);
        exec_.fill(removes_, 0, m);
        for (int sweep = 0; sweep < kSweeps; ++sweep) {
            exec_.fill(lowest_, 0xff, n_);
            exec_.forEach(m, LowestBody{vertices_, partner_, key_, blocked_, lowest_}, "lowest proposals");
            exec_.forEach(m, AcceptBody{mesh_, vertices_, partner_, key_, lowest_, blocked_, removes_}, "accepted");
        }
        int64_t removed = total(removes_, m);
        if (removed > excess) {
            trim(m, excess);
            removed = total(removes_, m);
        }
        if (removed > 0) rebuild(m);
        return removed;
    }

    int64_t total(const int32_t* counts, int64_t m) {
        int64_t* sums = scratch(lowest_);
        exec_.sum(counts, sums, m);
        int64_t sum;
        exec_.read(sums + m, &sum, 1);
        return sum;
    }

    float costLimit(int64_t below) {
        if (below >= n_) return kNoCost / 2;
        const int64_t count = std::min(n_, kSample);
        exec_.forEach(count, SampleBody{cost_, sample_, n_, count}, "cost sample");
        std::vector<float> sample(count);
        exec_.read(sample_, sample.data(), count);
        const auto nth = sample.begin() + std::min(count - 1, below * count / n_);
        std::nth_element(sample.begin(), nth, sample.end());
        return std::min(*nth, kNoCost / 2);
    }

    // Keeps the accepted collapses of the lowest keys that remove `excess` faces in all, or nearly so; at least one.
    void trim(int64_t m, int64_t excess) {
        std::vector<int64_t> vertex(m);
        std::vector<int32_t> removes(m);
        std::vector<uint64_t> keys(n_);
        exec_.read(removes_, removes.data(), m);
        exec_.read(vertices_, vertex.data(), m);
        exec_.read(key_, keys.data(), n_);
        std::vector<std::pair<uint64_t, int64_t>> order;
        for (int64_t i = 0; i < m; ++i)
            if (removes[i]) order.emplace_back(keys[vertex[i]], i);
        std::sort(order.begin(), order.end());
        std::vector<int32_t> kept(m, 0);
        int64_t left = excess;
        for (const auto& [key, i] : order) {
            if (removes[i] > left) continue;
            kept[i] = removes[i];
            left -= removes[i];
        }
        if (left == excess) {  // every accepted edge has more faces than may go
            const auto fewest = std::min_element(order.begin(), order.end(), [&](const auto& l, const auto& r) {
                return std::pair{removes[l.second], l.first} < std::pair{removes[r.second], r.first};
            });
            kept[fewest->second] = removes[fewest->second];
        }
        exec_.write(removes_, kept.data(), m);
    }

    void rebuild(int64_t m) {
        exec_.forEach(n_, IdentityBody{into_}, "unchanged vertices");
        exec_.forEach(m, JoinBody{vertices_, removes_, into_, partner_}, "joined vertices");
        const NewRow rows{mesh_, into_, partner_};
        int32_t* length = removes_;
        exec_.forEach(n_, MeasureBody{rows, length, flags_}, "new rows");
        int64_t *rank = scratch(lowest_), *begin = scratch(key_);
        exec_.sum(length, begin, n_);
        exec_.sum(flags_, rank, n_);
        int64_t left, links;
        exec_.read(rank + n_, &left, 1);
        exec_.read(begin + n_, &links, 1);
        exec_.forEach(n_, RebuildBody{rows, flags_, rank, begin, other_, cost_, end_, otherCost_, otherEnd_}, "new mesh");
        exec_.copy(other_.offsets + left, begin + n_, 1);
        std::swap(mesh_, other_);
        std::swap(cost_, otherCost_);
        std::swap(end_, otherEnd_);
        n_ = left;
        numFaces_ = links / 3;
    }

    CollapseResult faces() {
        exec_.forEach(n_, CountFacesBody{mesh_, removes_}, "faces of a vertex");
        int64_t* begin = scratch(lowest_);
        exec_.sum(removes_, begin, n_);
        CollapseResult out;
        out.numVertices = n_;
        out.numFaces = numFaces_;
        out.faces = exec_.workspace.template allocate<int32_t>(3 * numFaces_);
        exec_.forEach(n_, WriteFacesBody{mesh_, begin, out.faces}, "faces");
        out.positions = mesh_.positions;
        out.source = mesh_.source;
        out.quadrics = mesh_.quadrics;
        out.held = mesh_.held;
        return out;
    }

    Executor& exec_;
    const CollapseOptions options_;
    int64_t n_, numFaces_ = 0;
    CollapseMesh mesh_{}, other_{};
    float *cost_, *otherCost_, *sample_;
    int32_t *end_, *otherEnd_, *partner_, *removes_, *into_;
    uint64_t *key_, *lowest_;  // [n + 1], also offsets once they have served
    uint8_t *flags_, *blocked_;
    int64_t* vertices_;
};

}  // namespace ovoxel::mesh
