#include "mesh/holes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>
#include <utility>

#include "common/parallel.h"
#include "common/parallel_sort.h"
#include "mesh/vec3.h"

namespace ovoxel::mesh {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr int64_t kMaxExamined = 512;  // longer loops are not searched for points inside an ear

// One loop: its vertices in the order of the patch, against the direction of the loop.
struct Ring {
    std::vector<Vec3> points;
    std::vector<std::pair<int32_t, int32_t>> chords;  // (i < j), ascending

    int32_t size() const { return static_cast<int32_t>(points.size()); }
    bool joined(int32_t i, int32_t j) const {
        return std::binary_search(chords.begin(), chords.end(), std::make_pair(std::min(i, j), std::max(i, j)));
    }
};

struct Patch {
    std::vector<int32_t> faces;  // ring places; size() is the centre
    bool centre = false;
};

bool leastArea(const Ring& ring, Patch& patch) {
    const int32_t n = ring.size();
    std::vector<double> cost(n * n, kInf);
    std::vector<int32_t> split(n * n, -1);
    for (int32_t i = 0; i + 1 < n; ++i) cost[i * n + i + 1] = 0;
    for (int32_t gap = 2; gap < n; ++gap)
        for (int32_t a = 0; a + gap < n; ++a) {
            const int32_t b = a + gap;
            if (gap < n - 1 && ring.joined(a, b)) continue;
            const Vec3 ab = ring.points[b] - ring.points[a];
            for (int32_t k = a + 1; k < b; ++k) {
                const double total = cost[a * n + k] + cost[k * n + b] + norm(cross(ring.points[k] - ring.points[a], ab)) / 2;
                if (total < cost[a * n + b]) cost[a * n + b] = total, split[a * n + b] = k;
            }
        }
    if (!(cost[n - 1] < kInf)) return false;
    std::vector<std::pair<int32_t, int32_t>> todo{{0, n - 1}};
    while (!todo.empty()) {
        const auto [a, b] = todo.back();
        todo.pop_back();
        if (b - a < 2) continue;
        const int32_t k = split[a * n + b];
        patch.faces.insert(patch.faces.end(), {a, k, b});
        todo.push_back({k, b});
        todo.push_back({a, k});
    }
    return true;
}

class EarCutter {
public:
    EarCutter(const Ring& ring, Patch& patch) : ring_(ring), patch_(patch), before_(ring.size()), after_(ring.size()),
                                                version_(ring.size(), 0) {
        const int32_t n = ring.size();
        for (int32_t i = 0; i < n; ++i) {
            before_[i] = (i + n - 1) % n, after_[i] = (i + 1) % n;
            normal_ = normal_ + cross(ring.points[i], ring.points[after_[i]]);  // M. Newell's sum
        }
    }

    void cut() {
        int32_t left = ring_.size(), any = 0;
        for (int32_t i = 0; i < left; ++i) offer(i);
        while (left > 3 && !ears_.empty()) {
            const Ear ear = ears_.top();
            ears_.pop();
            if (ear.version != version_[ear.tip]) continue;
            const int32_t a = before_[ear.tip], b = after_[ear.tip];
            patch_.faces.insert(patch_.faces.end(), {a, ear.tip, b});
            after_[a] = b, before_[b] = a;
            version_[ear.tip] = -1;
            any = a;
            --left;
            for (const int32_t end : {a, b}) {
                ++version_[end];
                offer(end);
            }
        }
        if (left == 3) {
            patch_.faces.insert(patch_.faces.end(), {before_[any], any, after_[any]});
            return;
        }
        patch_.centre = true;
        for (int32_t i = any, k = 0; k < left; ++k, i = after_[i])
            patch_.faces.insert(patch_.faces.end(), {i, after_[i], ring_.size()});
    }

private:
    struct Ear {
        int rank;  // 0: convex and empty, 1: not
        double length2;
        int32_t tip, version;
        bool operator<(const Ear& other) const {  // the best one on top
            if (rank != other.rank) return rank > other.rank;
            return length2 != other.length2 ? length2 > other.length2 : tip > other.tip;
        }
    };

    void offer(int32_t tip) {
        const int32_t a = before_[tip], b = after_[tip];
        if (ring_.joined(a, b)) return;
        const bool clear = turns(a, tip, b) > 0 && isEmpty(a, tip, b);
        ears_.push({clear ? 0 : 1, norm2(ring_.points[b] - ring_.points[a]), tip, version_[tip]});
    }
    double turns(int32_t a, int32_t b, int32_t c) const {  // > 0: to the left, as seen against the normal
        return dot(cross(ring_.points[b] - ring_.points[a], ring_.points[c] - ring_.points[a]), normal_);
    }
    bool isEmpty(int32_t a, int32_t tip, int32_t b) const {
        if (ring_.size() > kMaxExamined) return true;
        for (int32_t i = after_[b]; i != a; i = after_[i])
            if (turns(a, tip, i) > 0 && turns(tip, b, i) > 0 && turns(b, a, i) > 0) return false;
        return true;
    }

    const Ring& ring_;
    Patch& patch_;
    std::vector<int32_t> before_, after_, version_;
    Vec3 normal_;
    std::priority_queue<Ear> ears_;
};

}  // namespace

BoundaryLoops boundaryLoops(const int64_t* start, const int64_t* end, int64_t n) {
    // Ends of sides by vertex; the end of side i is 2 * i, its start 2 * i + 1.
    std::vector<KeyValue> ends(2 * n);
    uint64_t last = 0;
    for (int64_t i = 0; i < n; ++i) {
        ends[2 * i] = {static_cast<uint64_t>(end[i]), static_cast<uint32_t>(2 * i)};
        ends[2 * i + 1] = {static_cast<uint64_t>(start[i]), static_cast<uint32_t>(2 * i + 1)};
        last = std::max({last, ends[2 * i].key, ends[2 * i + 1].key});
    }
    radixSort(ends, bitsFor(last + 1));  // stable
    std::vector<int64_t> groupOf(2 * n), first;
    for (int64_t i = 0; i < 2 * n; ++i) {
        if (i == 0 || ends[i].key != ends[i - 1].key) first.push_back(i);
        groupOf[ends[i].value] = static_cast<int64_t>(first.size()) - 1;
    }
    const int64_t groups = static_cast<int64_t>(first.size());
    first.push_back(2 * n);
    std::vector<uint8_t> seen(groups, 0);
    auto regular = [&](int64_t g) { return first[g + 1] - first[g] == 2; };

    BoundaryLoops out;
    out.offsets.push_back(0);
    std::vector<int64_t> loop;
    for (int64_t origin = 0; origin < groups; ++origin) {
        if (seen[origin] || !regular(origin)) continue;
        loop.clear();
        int64_t at = origin, side = ends[first[origin]].value / 2, forward = 0;
        while (regular(at) && !seen[at]) {
            seen[at] = 1;
            loop.push_back(static_cast<int64_t>(ends[first[at]].key));
            const bool along = groupOf[2 * side + 1] == at;
            forward += along ? 1 : -1;
            at = groupOf[2 * side + (along ? 0 : 1)];
            const int64_t one = ends[first[at]].value / 2;
            if (regular(at)) side = one == side ? ends[first[at] + 1].value / 2 : one;
        }
        if (at != origin || loop.size() < 3) continue;
        if (forward < 0) std::reverse(loop.begin() + 1, loop.end());
        out.vertices.insert(out.vertices.end(), loop.begin(), loop.end());
        out.offsets.push_back(static_cast<int64_t>(out.vertices.size()));
    }
    return out;
}

LoopPatches closeLoops(const double* positions, const int64_t* offsets, int64_t numLoops, const int64_t* chords,
                       int64_t numChords) {
    std::vector<Patch> patches(numLoops);
    parallelFor(numLoops, 16, [&](int64_t begin, int64_t end) {
        for (int64_t l = begin; l < end; ++l) {
            const int64_t from = offsets[l], to = offsets[l + 1];
            Ring ring;
            for (int64_t i = to - 1; i >= from; --i)
                ring.points.push_back({positions[3 * i], positions[3 * i + 1], positions[3 * i + 2]});
            int64_t low = 0, high = numChords;  // the first chord of this loop
            while (low < high) {
                const int64_t middle = (low + high) / 2;
                chords[2 * middle] < from ? low = middle + 1 : high = middle;
            }
            for (; low < numChords && chords[2 * low] < to; ++low)
                ring.chords.push_back({static_cast<int32_t>(to - 1 - chords[2 * low + 1]),
                                       static_cast<int32_t>(to - 1 - chords[2 * low])});
            std::sort(ring.chords.begin(), ring.chords.end());
            if (ring.size() > kMaxOptimal || !leastArea(ring, patches[l])) EarCutter(ring, patches[l]).cut();
        }
    });
    LoopPatches out;
    for (int64_t l = 0; l < numLoops; ++l) {
        const int64_t from = offsets[l], to = offsets[l + 1];
        const int64_t centre = offsets[numLoops] + static_cast<int64_t>(out.centres.size()) / 3;
        for (const int32_t place : patches[l].faces)
            out.faces.push_back(place == to - from ? centre : to - 1 - place);
        if (!patches[l].centre) continue;
        Vec3 sum;
        for (int64_t i = from; i < to; ++i)
            sum = sum + Vec3{positions[3 * i], positions[3 * i + 1], positions[3 * i + 2]};
        for (int k = 0; k < 3; ++k) out.centres.push_back(sum[k] / static_cast<double>(to - from));
    }
    return out;
}

}  // namespace ovoxel::mesh
