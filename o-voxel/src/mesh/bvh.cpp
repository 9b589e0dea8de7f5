#include "mesh/bvh.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/parallel.h"

namespace ovoxel::mesh {
namespace {

template <class Body>
void forEach(int64_t n, int64_t grain, const Body& body) {
    parallelFor(n, grain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) body(i);
    });
}

// Puts faces [begin, end) in order: halves, by the middle of the longest extent of their centres, of halves, down to
// leaves. Cuts are at multiples of the children's size, the largest 4^k * kBvhWidth below the number of faces.
class Splitter {
public:
    Splitter(const std::vector<float>& centres, std::vector<uint32_t>& order) : centres_(centres), order_(order) {}

    int64_t split(int64_t begin, int64_t end) const {
        int64_t child = kBvhWidth;
        while (child * kBvhWidth < end - begin) child *= kBvhWidth;
        const int64_t middle = begin + (end - begin + child - 1) / child / 2 * child;
        float lo[3] = {HUGE_VALF, HUGE_VALF, HUGE_VALF}, hi[3] = {-HUGE_VALF, -HUGE_VALF, -HUGE_VALF};
        for (int64_t i = begin; i < end; ++i)
            for (int k = 0; k < 3; ++k) {
                const float at = centres_[3 * static_cast<int64_t>(order_[i]) + k];
                lo[k] = smaller(lo[k], at);
                hi[k] = larger(hi[k], at);
            }
        const float size[3] = {hi[0] - lo[0], hi[1] - lo[1], hi[2] - lo[2]};
        const int axis = size[0] >= size[1] && size[0] >= size[2] ? 0 : (size[1] >= size[2] ? 1 : 2);
        std::nth_element(order_.begin() + begin, order_.begin() + middle, order_.begin() + end,
                         [&](uint32_t l, uint32_t r) {
                             const float a = centres_[3 * static_cast<int64_t>(l) + axis];
                             const float b = centres_[3 * static_cast<int64_t>(r) + axis];
                             return a != b ? a < b : l < r;
                         });
        return middle;
    }

    void splitAll(int64_t begin, int64_t end) const {
        if (end - begin <= kBvhWidth) return;
        const int64_t middle = split(begin, end);
        splitAll(begin, middle);
        splitAll(middle, end);
    }

private:
    const std::vector<float>& centres_;
    std::vector<uint32_t>& order_;
};

void sortFaces(const std::vector<float>& centres, std::vector<uint32_t>& order) {
    const Splitter splitter(centres, order);
    // Ranges are split on all threads until there are enough of them, then each is finished by one thread.
    std::vector<int64_t> bounds{0, static_cast<int64_t>(order.size())};
    for (int round = 0; round < 7 && bounds[1] > 4096; ++round) {
        std::vector<int64_t> next(2 * bounds.size() - 1);
        parallelFor(static_cast<int64_t>(bounds.size()) - 1, 1, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
                next[2 * i] = bounds[i];
                next[2 * i + 1] =
                    bounds[i + 1] - bounds[i] > kBvhWidth ? splitter.split(bounds[i], bounds[i + 1]) : bounds[i + 1];
            }
        });
        next.back() = bounds.back();
        bounds = std::move(next);
    }
    parallelFor(static_cast<int64_t>(bounds.size()) - 1, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) splitter.splitAll(bounds[i], bounds[i + 1]);
    });
}

}  // namespace

void buildBvh(const BvhInput& in, const BvhLayout& layout, const BvhStorage& out) {
    const int64_t n = in.numFaces;
    std::vector<float> centres(3 * n);
    std::vector<uint32_t> order(n);
    forEach(n, 8192, BvhCentreBody{in, centres.data(), order.data()});
    sortFaces(centres, order);
    forEach(layout.nodes, 4096, BvhEmptyBody{out.nodes});
    // Whole nodes a thread: leaves of one node share its cache lines.
    forEach(layout.leaves, 1024 * kBvhWidth, BvhLeafBody{in, layout, order.data(), out});
    for (int level = 0; level + 1 < layout.levels; ++level)
        forEach(layout.count(level), 1024 * kBvhWidth, BvhLevelBody{layout, out.nodes, level});
}

void runNearest(const BvhNearestBody& body, int64_t n) {
    parallelFor(n, 1024, [&](int64_t begin, int64_t end) {
        int64_t hint = -1;
        for (int64_t i = begin; i < end; ++i) hint = body.find(i, hint);
    });
}

void runTrace(const BvhTraceBody& body, int64_t n) { forEach(n, 256, body); }
void runCount(const BvhCountBody& body, int64_t n) { forEach(n, 256, body); }

}  // namespace ovoxel::mesh
