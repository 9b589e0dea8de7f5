#include "sample/sparse_sample.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <vector>

#include "common/parallel.h"

namespace ovoxel {
namespace {

constexpr int64_t kGrain = 4096;

// Rows (-1: absent) and weights of a query's corners; returns how many corners there are, 1 or 8.
int corners(const VoxelTable& table, const SampleQueries& queries, int64_t m, int64_t (&row)[8], float (&weight)[8]) {
    const SampleOptions& options = queries.options;
    const SampleQuery query = makeQuery(queries.shape, options, m / queries.perBatch, queries.points + 3 * m);
    const int count = options.nearest ? 1 : 8;
    if (!query.usable) {
        std::fill(row, row + count, -1);
        return count;
    }
    if (options.nearest) {
        row[0] = table.find(query.cell(0));
        weight[0] = 1.0f;
        return 1;
    }
    float sum = 0;
    for (int k = 0; k < 8; ++k) {
        row[k] = table.find(query.cell(k));
        if (row[k] >= 0) sum += weight[k] = query.weight(k);
    }
    if (options.normalize) {
        sum = std::max(sum, 1e-12f);
        for (float& value : weight) value /= sum;
    }
    return 8;
}

// Turns the counts in `cursor` into where each row starts, there and in start [n + 1]; returns their sum.
int64_t startRows(std::atomic<int64_t>* cursor, int64_t n, int64_t* start) {
    constexpr int64_t kChunk = 1 << 16;
    const int64_t chunks = (n + kChunk - 1) / kChunk;
    std::vector<int64_t> before(static_cast<size_t>(chunks) + 1, 0);
    const auto eachChunk = [&](auto&& work) {
        parallelFor(chunks, 1, [&](int64_t begin, int64_t end) {
            for (int64_t c = begin; c < end; ++c) work(c, c * kChunk, std::min(n, (c + 1) * kChunk));
        });
    };
    eachChunk([&](int64_t c, int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) before[c + 1] += cursor[row].load(std::memory_order_relaxed);
    });
    for (int64_t c = 0; c < chunks; ++c) before[c + 1] += before[c];
    eachChunk([&](int64_t c, int64_t begin, int64_t end) {
        int64_t sum = before[c];
        for (int64_t row = begin; row < end; ++row) {
            start[row] = sum;
            sum += cursor[row].load(std::memory_order_relaxed);
            cursor[row].store(start[row], std::memory_order_relaxed);
        }
    });
    return start[n] = before[chunks];
}

}  // namespace

VoxelTable::Slot* buildTable(Workspace& workspace, const int32_t* coords, int64_t n, const Extent& shape) {
    const int64_t capacity = indexCapacity(n);
    auto* slots = workspace.allocate<VoxelTable::Slot>(capacity);
    parallelFor(capacity, 1 << 18, [&](int64_t begin, int64_t end) {
        std::fill(slots + begin, slots + end, VoxelTable::kEmpty);
    });
    const VoxelTable table(coords, 4, shape, slots, capacity);
    parallelFor(n, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row)
            if (shape.holds(table.cell(row))) table.insert(row);
    });
    return slots;
}

void sampleFeatures(const VoxelTable& table, const SampleQueries& queries, const float* feats, int64_t channels,
                    float* out) {
    parallelFor(queries.count(), kGrain, [&](int64_t begin, int64_t end) {
        int64_t row[8];
        float weight[8] = {};
        for (int64_t m = begin; m < end; ++m) {
            const int count = corners(table, queries, m, row, weight);
            float* to = out + m * channels;
            std::fill(to, to + channels, 0.0f);
            for (int k = 0; k < count; ++k) {
                if (row[k] < 0) continue;
                const float* from = feats + row[k] * channels;
                for (int64_t c = 0; c < channels; ++c) to[c] += weight[k] * from[c];
            }
        }
    });
}

// Lists each row's contributions (a counting sort by row), sorts each list, and adds it up: no two threads write one row.
void sampleBackward(Workspace& workspace, const VoxelTable& table, int64_t n, const SampleQueries& queries,
                    const float* gradOut, int64_t channels, float* gradFeats) {
    struct Part {
        uint32_t entry;  // (query - first query) * corners + corner
        float weight;
    };
    parallelFor(n * channels, 1 << 18, [&](int64_t begin, int64_t end) {
        std::fill(gradFeats + begin, gradFeats + end, 0.0f);
    });
    const int perQuery = queries.options.nearest ? 1 : 8;
    auto* cursor = workspace.allocate<std::atomic<int64_t>>(n);
    int64_t* start = workspace.allocate<int64_t>(n + 1);
    for (int64_t first = 0; first < queries.count(); first += kQueriesAtOnce) {
        const int64_t count = std::min(kQueriesAtOnce, queries.count() - first);
        int32_t* rows = workspace.allocate<int32_t>(count * perQuery);
        float* weights = workspace.allocate<float>(count * perQuery);
        parallelFor(n, 1 << 18, [&](int64_t begin, int64_t end) {
            for (int64_t row = begin; row < end; ++row) new (cursor + row) std::atomic<int64_t>(0);
        });
        parallelFor(count, kGrain, [&](int64_t begin, int64_t end) {
            int64_t row[8];
            float weight[8] = {};
            for (int64_t m = begin; m < end; ++m) {
                corners(table, queries, first + m, row, weight);
                for (int k = 0; k < perQuery; ++k) {
                    rows[m * perQuery + k] = static_cast<int32_t>(row[k]);
                    weights[m * perQuery + k] = weight[k];
                    if (row[k] >= 0) cursor[row[k]].fetch_add(1, std::memory_order_relaxed);
                }
            }
        });
        const int64_t total = startRows(cursor, n, start);
        auto* parts = workspace.allocate<Part>(total);
        parallelFor(count * perQuery, kGrain * 8, [&](int64_t begin, int64_t end) {
            for (int64_t e = begin; e < end; ++e)
                if (rows[e] >= 0)
                    parts[cursor[rows[e]].fetch_add(1, std::memory_order_relaxed)] = {static_cast<uint32_t>(e), weights[e]};
        });
        parallelFor(n, kGrain, [&](int64_t begin, int64_t end) {
            for (int64_t row = begin; row < end; ++row) {
                Part* last = parts + start[row + 1];
                std::sort(parts + start[row], last, [](const Part& a, const Part& b) { return a.entry < b.entry; });
                float* to = gradFeats + row * channels;
                for (const Part* part = parts + start[row]; part != last; ++part) {
                    const float* from = gradOut + (first + part->entry / perQuery) * channels;
                    for (int64_t c = 0; c < channels; ++c) to[c] += part->weight * from[c];
                }
            }
        });
        workspace.release(rows);
        workspace.release(weights);
        workspace.release(parts);
    }
    workspace.release(cursor);
    workspace.release(start);
}

}  // namespace ovoxel
