#include "remesh/remesh.h"

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "common/parallel.h"

namespace ovoxel::remesh {

template <class Run, class Body>
void runEach(const Run&, int64_t n, const Body& body, const char*) {
    parallelFor(n, 2048, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) body(i);
    });
}

#define OVOXEL_REMESH_BODY(Body) template void runEach(const HostRun&, int64_t, const Body&, const char*);
#include "remesh/bodies.inc"
#undef OVOXEL_REMESH_BODY

namespace {

struct Frontier {
    std::vector<int64_t> words;  // that labels beside them reach into
    int64_t open = 0;            // words with nodes that have no label and may get one
};

Frontier findFrontier(const FloodField& field, const Word* labels) {
    Frontier result;
    std::mutex mutex;
    parallelFor(field.grid.words(), int64_t{1} << 15, [&](int64_t begin, int64_t end) {
        Frontier part;
        for (int64_t word = begin; word < end; ++word) {
            if (field.done(labels, word)) continue;
            const WordAt at(field.grid, word);
            const Word open = field.open(at, word);
            if ((open & ~labels[word]) == 0) continue;
            ++part.open;
            if (spreadInto(field, labels, at, word, open, true) != labels[word]) part.words.push_back(word);
        }
        const std::lock_guard<std::mutex> lock(mutex);
        result.words.insert(result.words.end(), part.words.begin(), part.words.end());
        result.open += part.open;
    });
    return result;
}

// Labels of a word after what is beside it has spread into it.
Word spread(const FloodField& field, const Word* labels, const WordAt& at, int64_t word) {
    const Word open = field.open(at, word);
    return (open & ~labels[word]) == 0 ? labels[word] : spreadInto(field, labels, at, word, open, true);
}

// Carries labels far: there and back through slabs along x, every second one at a time, so that no thread reads what
// another writes.
void sweepSlabs(const FloodField& field, Word* labels) {
    constexpr int64_t kRows = 16;
    const int64_t row = field.grid.size[1] * field.grid.column(), slabs = (field.grid.size[0] + kRows - 1) / kRows;
    auto visit = [&](int64_t word) {
        if (!field.done(labels, word)) labels[word] = spread(field, labels, WordAt(field.grid, word), word);
    };
    for (int64_t parity = 0; parity < 2; ++parity)
        parallelFor((slabs + 1 - parity) / 2, 1, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
                const int64_t x = (2 * i + parity) * kRows;
                const int64_t first = x * row, last = std::min(x + kRows, field.grid.size[0]) * row;
                for (int64_t word = first; word < last; ++word) visit(word);
                for (int64_t word = last - 1; word >= first; --word) visit(word);
            }
        });
}

}  // namespace

// The labels at the end are all that can be reached, in whatever order.
void flood(const HostRun&, const FloodField& field, Word* labels) {
    constexpr int kMostSweeps = 8;
    const NodeGrid& grid = field.grid;
    const int64_t words = grid.words(), column = grid.column(), row = grid.size[1] * column;
    Frontier frontier = findFrontier(field, labels);
    for (int i = 0; i < kMostSweeps && !frontier.words.empty() && frontier.open > words / 8; ++i) {
        sweepSlabs(field, labels);
        frontier = findFrontier(field, labels);
    }
    if (frontier.words.empty()) return;
    std::vector<uint8_t> queued(words, 0);
    std::vector<int64_t> stack = std::move(frontier.words);
    for (const int64_t word : stack) queued[word] = 1;
    while (!stack.empty()) {
        const int64_t word = stack.back();
        stack.pop_back();
        queued[word] = 0;
        const WordAt at(grid, word);
        const Word now = spread(field, labels, at, word);
        if (now == labels[word]) continue;
        labels[word] = now;
        const int64_t around[6] = {at.x > 0 ? word - row : -1, at.x + 1 < grid.size[0] ? word + row : -1,
                                   at.y > 0 ? word - column : -1, at.y + 1 < grid.size[1] ? word + column : -1,
                                   at.z > 0 ? word - 1 : -1, at.z + 1 < column ? word + 1 : -1};
        for (const int64_t next : around) {
            if (next < 0 || queued[next]) continue;
            queued[next] = 1;
            stack.push_back(next);
        }
    }
}

const CaseTable* placeTable(const HostRun&) {
    static const CaseTable table = makeCaseTable();
    return &table;
}

}  // namespace ovoxel::remesh
