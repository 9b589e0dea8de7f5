#include "remesh/remesh.h"

#include <mutex>
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

}  // namespace

// The labels at the end are all that can be reached, in whatever order.
void flood(const HostRun&, const FloodField& field, Word* labels) {
    const NodeGrid& grid = field.grid;
    const int64_t words = grid.words(), column = grid.column(), row = grid.size[1] * column;
    const Frontier frontier = findFrontier(field, labels);
    if (frontier.words.empty()) return;
    std::vector<uint8_t> queued(words, 0);
    std::vector<int64_t> stack;
    auto push = [&](int64_t word) {
        if (queued[word]) return;
        queued[word] = 1;
        stack.push_back(word);
    };
    auto visit = [&](int64_t word) {
        if (field.done(labels, word)) return;
        const WordAt at(grid, word);
        const Word open = field.open(at, word);
        if ((open & ~labels[word]) == 0) return;
        const Word now = spreadInto(field, labels, at, word, open, true);
        if (now == labels[word]) return;
        labels[word] = now;
        const int64_t around[6] = {at.x > 0 ? word - row : -1, at.x + 1 < grid.size[0] ? word + row : -1,
                                   at.y > 0 ? word - column : -1, at.y + 1 < grid.size[1] ? word + column : -1,
                                   at.z > 0 ? word - 1 : -1, at.z + 1 < column ? word + 1 : -1};
        for (const int64_t next : around)
            if (next >= 0) push(next);
    };
    if (frontier.open > words / 8) {  // far to go: sweeps carry labels along +x and +y, then along -x and -y
        for (int64_t word = 0; word < words; ++word) visit(word);
        for (int64_t word = words - 1; word >= 0; --word) visit(word);
    } else {
        for (const int64_t word : frontier.words) push(word);
    }
    while (!stack.empty()) {
        const int64_t word = stack.back();
        stack.pop_back();
        queued[word] = 0;
        visit(word);
    }
}

const CaseTable* placeTable(const HostRun&) {
    static const CaseTable table = makeCaseTable();
    return &table;
}

}  // namespace ovoxel::remesh
