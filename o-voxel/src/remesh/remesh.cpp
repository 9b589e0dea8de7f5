#include "remesh/remesh.h"

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

void flood(const HostRun&, const FloodField& field, Word* labels) {
    const NodeGrid& grid = field.grid;
    const int64_t words = grid.words(), column = grid.column(), row = grid.size[1] * column;
    std::vector<uint8_t> queued(words, 0);
    std::vector<int64_t> stack;
    auto visit = [&](int64_t word) {
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
            if (next >= 0 && !queued[next]) {
                queued[next] = 1;
                stack.push_back(next);
            }
    };
    for (int64_t word = 0; word < words; ++word) visit(word);  // carries labels far along +x and +y
    for (int64_t word = words - 1; word >= 0; --word) visit(word);
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
